//! Loading: breadth first from the root file, and each file is merged over the previous ones.

use crate::document::{ConfigFile, DEFAULT_CONFIG_PATH, Document, LoadWarning, field, imports, merge_tables, moves};
use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::dialect::SyntaxError;
use crate::toml::value::{Table, Value, ValueKind};
use crate::toml::{self, line_at};
use crate::tree::{Entry, Tree};
use crate::version::Version;
use std::collections::{BTreeSet, VecDeque};

/// The largest number of files that are loaded. No node has more, but a hostile glob may match more.
const MOST_FILES: usize = 1_000;

/// The result of [`load`].
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration, or the reason why the daemon would not start with it. Final only if `missing` is empty.
    pub(crate) outcome: Result<Document, Box<LoadError>>,
    /// Paths that the caller must read first.
    pub(crate) missing: Vec<String>,
}

/// The reason why containerd does not start with these files.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{fault}")]
pub struct LoadError {
    /// The kind of fault.
    pub fault: LoadFault,
    /// The location.
    pub place: SourceLocation,
    /// The line itself, with values masked, if it is known.
    pub shown: Option<String>,
    /// The byte range of the fault in the file, if it is known.
    pub span: Option<std::ops::Range<usize>>,
}

/// The kind of fault that keeps the daemon from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadFault {
    /// The file is not TOML that this containerd accepts and Mirrorshift can edit.
    #[error("{0}")]
    Syntax(Box<SyntaxError>),
    /// The file cannot be read: it is a folder, a FIFO, too large, or outside of the root.
    #[error("cannot be read: {0}")]
    Unusable(String),
    /// An import without a glob names a file that does not exist.
    #[error("imports `{0}`, which does not exist: containerd does not start")]
    MissingImport(String),
    /// A key has a value of another type than containerd expects.
    #[error("`{key}` must be {expected}, not {found}: containerd does not start")]
    WrongType {
        /// The key.
        key: String,
        /// The type that containerd expects.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// The `version` is higher than this containerd supports.
    #[error("this containerd does not support `version = {0}` and does not start")]
    UnknownSchema(i64),
    /// A drop-in has a higher `version` than the root file.
    #[error("`version = {drop_in}` is higher than the root file's {root}: this containerd does not start")]
    NewerDropIn {
        /// The drop-in's `version`.
        drop_in: i64,
        /// The root file's `version`.
        root: i64,
    },
    /// A plugin key has a form that 1.x rejects in a version 2 file.
    #[error(
        "plugin key `{0}` is not of the form `io.containerd.x.vx` that `version = 2` requires: containerd does not start"
    )]
    PluginKey(String),
    /// The imports name more than 1,000 files.
    #[error("imports more than {MOST_FILES} files")]
    TooManyFiles,
}

/// Loads `root` and its imports from `tree` as `version` does.
pub(crate) fn load(version: &Version, root: &str, tree: &Tree) -> Loaded {
    let mut missing = Vec::new();
    let mut loader = Loader {
        version,
        tree,
        missing: &mut missing,
        plugins: Table::new(),
        top: Table::new(),
        schema: 0,
        files: Vec::new(),
        warnings: Vec::new(),
    };
    let outcome = loader.run(root);
    let Loader {
        plugins,
        top,
        schema,
        files,
        warnings,
        ..
    } = loader;
    let outcome = outcome.map(|()| Document {
        version: version.clone(),
        files,
        schema,
        plugins,
        top,
        warnings,
    });
    missing.sort();
    missing.dedup();
    Loaded { outcome, missing }
}

struct Loader<'l> {
    version: &'l Version,
    tree: &'l Tree,
    missing: &'l mut Vec<String>,
    plugins: Table,
    top: Table,
    schema: i64,
    files: Vec<ConfigFile>,
    warnings: Vec<LoadWarning>,
}

type LoadResult<T> = Result<T, Box<LoadError>>;

impl Loader<'_> {
    fn run(&mut self, root: &str) -> LoadResult<()> {
        // A daemon without a file has the newest schema that it supports; 1.x starts with schema 1.
        let newest = self.newest_schema();
        self.schema = if self.version.has(Rule::SchemaThree) { newest } else { 1 };
        let mut root_schema = 0;
        let mut loaded = BTreeSet::new();
        let mut pending: VecDeque<(String, Option<SourceLocation>)> = VecDeque::from([(root.to_owned(), None)]);
        while let Some((path, named_at)) = pending.pop_front() {
            if loaded.contains(&path) {
                if let Some(place) = named_at {
                    self.warnings.push(LoadWarning::ImportedAgain { place, path });
                }
                continue;
            }
            if loaded.len() >= MOST_FILES {
                return Err(Box::new(LoadError {
                    fault: LoadFault::TooManyFiles,
                    place: SourceLocation { path, line: None },
                    shown: None,
                    span: None,
                }));
            }
            let Some(bytes) = self.bytes(&path, named_at)? else {
                continue;
            };
            let file = self.parse(&path, &bytes)?;
            let own = file.schema.unwrap_or(0);
            if root_schema == 0 {
                root_schema = own;
            }
            if self.version.has(Rule::NewerDropInRefused) && own > root_schema {
                let fault = LoadFault::NewerDropIn {
                    drop_in: own,
                    root: root_schema,
                };
                return Err(fault_in(&file, fault, file.parsed.root.get("version")));
            }
            let index = self.files.len();
            let imports = self.imports_of(&file)?;
            self.merge(&file, index)?;
            self.files.push(file);
            loaded.insert(path.clone());
            for (entry, place) in imports {
                let found = imports::resolve(self.version, &path, &entry, self.tree, self.missing);
                if found.in_working_directory {
                    self.warnings.push(LoadWarning::GlobBelowWorkingDirectory {
                        place: place.clone(),
                        pattern: entry,
                    });
                }
                pending.extend(found.paths.into_iter().map(|path| (path, Some(place.clone()))));
            }
        }
        self.finish()
    }

    fn newest_schema(&self) -> i64 {
        if self.version.has(Rule::SchemaFour) {
            4
        } else if self.version.has(Rule::SchemaThree) {
            3
        } else {
            2
        }
    }

    fn bytes(&mut self, path: &str, named_at: Option<SourceLocation>) -> LoadResult<Option<Vec<u8>>> {
        let error = |fault, place| {
            Err(Box::new(LoadError {
                fault,
                place,
                shown: None,
                span: None,
            }))
        };
        let own = SourceLocation {
            path: path.to_owned(),
            line: None,
        };
        match (self.tree.get(path), named_at) {
            (Some(Entry::File(bytes)), _) => Ok(Some(bytes.clone())),
            (None, _) => {
                self.missing.push(path.to_owned());
                Ok(None)
            }
            // If its configuration file does not exist, containerd runs with its defaults.
            (Some(Entry::Absent), None) => Ok(None),
            (Some(Entry::Absent), Some(place)) => error(LoadFault::MissingImport(path.to_owned()), place),
            (Some(Entry::Folder(_)), _) => error(LoadFault::Unusable("is a folder".to_owned()), own),
            (Some(Entry::Unusable(why)), _) => error(LoadFault::Unusable(why.clone()), own),
        }
    }

    fn parse(&self, path: &str, bytes: &[u8]) -> LoadResult<ConfigFile> {
        let parsed = toml::parse(bytes, self.version.has(Rule::GoTomlOne)).map_err(|syntax| {
            let place = SourceLocation {
                path: path.to_owned(),
                line: Some(syntax.line),
            };
            let (shown, span) = (Some(syntax.shown.clone()), Some(syntax.span.clone()));
            Box::new(LoadError {
                fault: LoadFault::Syntax(syntax),
                place,
                shown,
                span,
            })
        })?;
        let mut file = ConfigFile {
            path: path.to_owned(),
            parsed,
            schema: None,
        };
        file.schema = match self.field(&file.parsed.root, "version") {
            None => None,
            Some(Value {
                kind: ValueKind::Integer(number),
                ..
            }) => Some(*number),
            Some(value) => return Err(wrong_type(&file, "version", "an integer", value)),
        };
        Ok(file)
    }

    fn field<'t>(&self, table: &'t Table, key: &str) -> Option<&'t Value> {
        field(table, key, self.version.has(Rule::KeysFoldCase))
    }

    fn imports_of(&self, file: &ConfigFile) -> LoadResult<Vec<(String, SourceLocation)>> {
        let Some(imports) = self.field(&file.parsed.root, "imports") else {
            return Ok(Vec::new());
        };
        let ValueKind::Array(entries) = &imports.kind else {
            return Err(wrong_type(file, "imports", "an array of strings", imports));
        };
        let entry = |value: &Value| match value.as_str() {
            Some(entry) => {
                let line = line_at(&file.parsed.text, value.span.start);
                Ok((
                    entry.to_owned(),
                    SourceLocation {
                        path: file.path.clone(),
                        line: Some(line),
                    },
                ))
            }
            None => Err(wrong_type(file, "imports", "an array of strings", value)),
        };
        entries.iter().map(entry).collect()
    }

    /// Merges a file over the previous files.
    fn merge(&mut self, file: &ConfigFile, index: usize) -> LoadResult<()> {
        let mut plugins = match self.field(&file.parsed.root, "plugins") {
            None => Table::new(),
            Some(Value {
                kind: ValueKind::Table(table),
                ..
            }) => table.clone(),
            Some(value) => return Err(wrong_type(file, "plugins", "a table", value)),
        };
        plugins.values_mut().for_each(|value| value.set_file(index));
        let own = file.schema.unwrap_or(0);
        let mut merged_schema = own;
        if self.version.has(Rule::MovedFileByFile) {
            // The schemas are converted one at a time, and each conversion below 4 moves the image settings.
            let newest = self.newest_schema();
            if own < newest {
                moves::move_image_settings(&mut plugins, None);
                if own < 2 {
                    moves::rename_version_one(&mut plugins);
                    moves::move_image_settings(&mut plugins, None);
                }
                merged_schema = newest;
            }
        } else if self.version.has(Rule::MovedOnceAfterMerge) && own < 2 {
            moves::rename_version_one(&mut plugins);
            merged_schema = self.schema;
        }
        if self.version.has(Rule::PluginTablesMerged) {
            merge_tables(&mut self.plugins, &plugins);
        } else {
            self.plugins.extend(plugins);
        }
        if merged_schema != 0 {
            self.schema = merged_schema;
        }
        let others = file
            .parsed
            .root
            .iter()
            .filter(|(key, _)| !["plugins", "version", "imports"].contains(&key.as_str()));
        for (key, value) in others {
            let mut value = value.clone();
            value.set_file(index);
            self.merge_top(key, value);
        }
        Ok(())
    }

    fn merge_top(&mut self, key: &str, value: Value) {
        match (self.top.get_mut(key).map(|old| &mut old.kind), value.kind) {
            (Some(ValueKind::Array(old)), ValueKind::Array(new)) => old.extend(new),
            (_, kind) => {
                self.top.insert(key.to_owned(), Value { kind, ..value });
            }
        }
    }

    fn finish(&mut self) -> LoadResult<()> {
        let schema = self.schema;
        let (file, at) = self.place_of_schema();
        let too_high = schema > self.newest_schema();
        if too_high && self.version.has(Rule::SchemaChecked) {
            return match self.files.get(file) {
                Some(file) => Err(fault_in(file, LoadFault::UnknownSchema(schema), at.as_ref())),
                None => Ok(()),
            };
        }
        if schema >= 2 && self.version.has(Rule::PluginKeysChecked) {
            self.check_plugin_keys()?;
        }
        if self.version.has(Rule::MovedOnceAfterMerge) && schema < 3 {
            let always = self.version.has(Rule::DefaultConfigPathAlways);
            moves::move_image_settings(&mut self.plugins, always.then_some(DEFAULT_CONFIG_PATH));
        }
        Ok(())
    }

    /// Returns the last file with a `version` key, because that key takes effect.
    fn place_of_schema(&self) -> (usize, Option<Value>) {
        let last = self.files.iter().rposition(|file| file.schema.is_some()).unwrap_or(0);
        let value = self
            .files
            .get(last)
            .and_then(|file| self.field(&file.parsed.root, "version"))
            .cloned();
        (last, value)
    }

    fn check_plugin_keys(&self) -> LoadResult<()> {
        let prefixed = self.version.has(Rule::PluginKeyPrefixChecked);
        let good = |key: &str| key.split('.').count() >= 4 && (!prefixed || key.starts_with("io.containerd."));
        let lists = ["disabled_plugins", "required_plugins"]
            .into_iter()
            .filter_map(|key| self.top.get(key));
        let entries = lists.flat_map(|list| match &list.kind {
            ValueKind::Array(entries) => entries
                .iter()
                .filter_map(|entry| Some((entry.as_str()?, entry)))
                .collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let tables = self.plugins.iter().map(|(key, value)| (key.as_str(), value));
        let bad = entries.chain(tables).find(|(key, _)| !good(key));
        match bad.and_then(|(key, value)| Some((key, value, self.files.get(value.file)?))) {
            Some((key, value, file)) => Err(fault_in(file, LoadFault::PluginKey(key.to_owned()), Some(value))),
            None => Ok(()),
        }
    }
}

fn wrong_type(file: &ConfigFile, key: &str, expected: &'static str, value: &Value) -> Box<LoadError> {
    fault_in(
        file,
        LoadFault::WrongType {
            key: key.to_owned(),
            expected,
            found: value.kind.name(),
        },
        Some(value),
    )
}

/// Builds an error for `value` in `file`.
pub(crate) fn fault_in(file: &ConfigFile, fault: LoadFault, value: Option<&Value>) -> Box<LoadError> {
    let text = &file.parsed.text;
    let span = value.map(|value| value.span.clone());
    let line = span.as_ref().map(|span| line_at(text, span.start));
    let shown = line.and_then(|line| text.lines().nth(line - 1)).map(toml::mask);
    Box::new(LoadError {
        fault,
        place: SourceLocation {
            path: file.path.clone(),
            line,
        },
        shown,
        span,
    })
}
