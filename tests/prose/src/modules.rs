//! The modules of a crate, and the file that defines what a path names.
//!
//! Paths are resolved as the compiler does it, as far as that is possible without types and macros: through child
//! modules, items, imports and re-exports. A path that leaves the crate has no file.

use crate::lexer::{Token, TokenKind, lex};
use crate::product::{group_end, test_ranges, without};
use crate::tree::SourceTree;
use std::collections::{BTreeMap, BTreeSet};

/// The modules of one crate; the first is its root.
pub(crate) struct ModuleTree<'a> {
    modules: Vec<Module<'a>>,
}

#[derive(Default)]
struct Module<'a> {
    file: String,
    /// The folder in which its child modules have their files, with `/` at the end.
    folder: String,
    parent: Option<usize>,
    children: BTreeMap<&'a str, usize>,
    items: BTreeSet<&'a str>,
    imports: Vec<Import<'a>>,
    /// Paths in the code, other than those of imports.
    paths: Vec<Reference<'a>>,
}

/// An import of one name, or of all names of a module.
struct Import<'a> {
    reference: Reference<'a>,
    /// The name in this module; nothing for `*`.
    name: Option<&'a str>,
    is_public: bool,
}

/// A path in a line of the source.
#[derive(Clone)]
struct Reference<'a> {
    segments: Vec<&'a str>,
    line: usize,
}

/// An import of one file by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// The path that makes the import, for example `crate::plan::Step`.
    pub(crate) path: String,
}

/// The thing that a path names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// An item that the module defines, or a name that it has from a macro.
    ItemOf(usize),
}

/// More hops than an import has, in which re-exports refer to each other.
const MAX_HOPS: usize = 16;

impl<'a> ModuleTree<'a> {
    /// Reads the modules of the crate whose root is the file `root`, without those for tests.
    pub(crate) fn read(tree: &'a SourceTree, root: &str) -> Self {
        let folder = root
            .rsplit_once('/')
            .map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let mut modules = ModuleTree {
            modules: vec![Module {
                file: root.to_owned(),
                folder,
                ..Module::default()
            }],
        };
        let mut unread = vec![0];
        while let Some(module) = unread.pop() {
            let Some(text) = tree.text(&modules.modules[module].file) else {
                continue;
            };
            let tokens = lex(text).tokens;
            let tokens = without(&tokens, &test_ranges(&tokens));
            Reader {
                tree,
                tokens: &tokens,
                modules: &mut modules,
                unread: &mut unread,
            }
            .read(module);
        }
        modules
    }

    /// Returns the files of the crate.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.modules.iter().map(|module| module.file.as_str()).collect()
    }

    /// Returns the imports of one file by another, one for each pair of files.
    pub(crate) fn edges(&self) -> Vec<Edge> {
        let mut edges: BTreeMap<(String, String), Edge> = BTreeMap::new();
        for (index, module) in self.modules.iter().enumerate() {
            let imports = module.imports.iter().filter_map(|import| {
                let target = self.resolve(index, &import.reference.segments, 0)?;
                match target {
                    // A name for a module is not an import of what is in it: the paths that use the name are.
                    Target::Module(_) if import.name.is_some() => None,
                    Target::Module(of) | Target::ItemOf(of) if import.is_public && self.is_under(of, index) => None,
                    Target::Module(of) | Target::ItemOf(of) => Some((of, &import.reference)),
                }
            });
            let paths =
                module
                    .paths
                    .iter()
                    .filter_map(|reference| match self.resolve(index, &reference.segments, 0)? {
                        Target::Module(_) => None,
                        Target::ItemOf(of) => Some((of, reference)),
                    });
            for (of, reference) in imports.chain(paths) {
                let (from, to) = (module.file.clone(), self.modules[of].file.clone());
                if from != to {
                    edges.entry((from.clone(), to.clone())).or_insert_with(|| Edge {
                        from,
                        to,
                        line: reference.line,
                        path: reference.segments.join("::"),
                    });
                }
            }
        }
        edges.into_values().collect()
    }

    fn is_under(&self, module: usize, ancestor: usize) -> bool {
        let mut at = Some(module);
        while let Some(index) = at {
            if index == ancestor {
                return true;
            }
            at = self.modules[index].parent;
        }
        false
    }

    /// Returns the thing that a path names in a module; nothing when it is not in this crate.
    fn resolve(&self, module: usize, segments: &[&str], hops: usize) -> Option<Target> {
        let (first, mut rest) = segments.split_first()?;
        let mut at = match *first {
            "crate" => 0,
            "self" => module,
            "super" => self.modules[module].parent?,
            name => {
                let found = self.local(module, name, hops)?;
                match found {
                    Target::Module(child) => child,
                    Target::ItemOf(_) => return Some(found),
                }
            }
        };
        while let Some((next, tail)) = rest.split_first() {
            if *next == "super" {
                at = self.modules[at].parent?;
            } else if *next != "self" {
                match self.local(at, next, hops) {
                    Some(Target::Module(child)) => at = child,
                    Some(found @ Target::ItemOf(_)) => return Some(found),
                    None if self.is_foreign(at, next) => return None,
                    None => return Some(Target::ItemOf(at)),
                }
            }
            rest = tail;
        }
        Some(Target::Module(at))
    }

    /// Returns the thing that a name means in a module.
    fn local(&self, module: usize, name: &str, hops: usize) -> Option<Target> {
        if hops > MAX_HOPS {
            return None;
        }
        let this = &self.modules[module];
        if let Some(child) = this.children.get(name) {
            return Some(Target::Module(*child));
        }
        if this.items.contains(name) {
            return Some(Target::ItemOf(module));
        }
        let named = this.imports.iter().filter(|import| import.name == Some(name));
        for import in named {
            // `use name;` and `use name::…` of another crate refer to no module here.
            if import.reference.segments != [name]
                && let Some(found) = self.resolve(module, &import.reference.segments, hops + 1)
            {
                return Some(found);
            }
        }
        this.imports
            .iter()
            .filter(|import| import.name.is_none())
            .find_map(
                |import| match self.resolve(module, &import.reference.segments, hops + 1)? {
                    Target::Module(of) if of != module => self.local(of, name, hops + 1),
                    _ => None,
                },
            )
    }

    /// Returns true if a module has a name from another crate.
    fn is_foreign(&self, module: usize, name: &str) -> bool {
        let mut imports = self.modules[module].imports.iter();
        imports.any(|import| import.name == Some(name))
    }
}

/// Reads the tokens of one file into its module and its inline modules.
struct Reader<'r, 'a> {
    tree: &'a SourceTree,
    tokens: &'r [Token<'a>],
    modules: &'r mut ModuleTree<'a>,
    unread: &'r mut Vec<usize>,
}

impl<'a> Reader<'_, 'a> {
    fn read(&mut self, file: usize) {
        let (mut module, mut depth) = (file, 0usize);
        // The modules around an inline one, each with the depth of the brace that ends it.
        let mut outer: Vec<(usize, usize)> = Vec::new();
        let mut path_attribute = None;
        let mut at = 0;
        while at < self.tokens.len() {
            let token = self.tokens[at];
            let is_at_top = depth == outer.last().map_or(0, |(_, depth)| depth + 1);
            match token.text {
                _ if !matches!(token.kind, TokenKind::Identifier | TokenKind::Punctuation) => {}
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if let Some((parent, _)) = outer.pop_if(|(_, end)| *end == depth) {
                        module = parent;
                    }
                }
                "path" if self.is(at + 1, "=") => path_attribute = self.tokens.get(at + 2).map(|token| token.text),
                "mod" if is_at_top && self.is_name(at + 1) => {
                    let child = self.add_child(module, self.tokens[at + 1].text, path_attribute.take(), at + 2);
                    if self.is(at + 2, "{") {
                        outer.push((module, depth));
                        module = child;
                        depth += 1;
                        at += 3;
                        continue;
                    }
                }
                "pub" => {
                    if self.is(at + 1, "(") {
                        at = group_end(self.tokens, at + 1);
                    } else {
                        at += 1;
                    }
                    if self.is(at, "use") {
                        at = self.read_use(module, at + 1, true);
                    }
                    continue;
                }
                "use" => {
                    at = self.read_use(module, at + 1, false);
                    continue;
                }
                "struct" | "enum" | "trait" | "type" | "union" | "fn" | "const" | "static"
                    if is_at_top && self.is_name(at + 1) =>
                {
                    self.modules.modules[module].items.insert(self.tokens[at + 1].text);
                }
                _ if token.kind == TokenKind::Identifier && self.is(at + 1, ":") && self.is(at + 2, ":") => {
                    at = self.read_path(module, at);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    fn is_name(&self, at: usize) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == TokenKind::Identifier)
    }

    /// Adds a module, with the file that has it or the file of its parent if it is inline.
    fn add_child(&mut self, parent: usize, name: &'a str, path: Option<&str>, next: usize) -> usize {
        let Module { file, folder, .. } = &self.modules.modules[parent];
        let index = self.modules.modules.len();
        let mut module = Module {
            parent: Some(parent),
            ..Module::default()
        };
        let own_folder = format!("{folder}{name}/");
        if self.is(next, "{") {
            module.file.clone_from(file);
            module.folder = own_folder;
        } else {
            let beside = |path: &str| {
                let own = file
                    .rsplit_once('/')
                    .map_or(String::new(), |(folder, _)| format!("{folder}/"));
                format!("{own}{path}")
            };
            let (flat, nested) = (format!("{folder}{name}.rs"), format!("{own_folder}mod.rs"));
            module.file = match path {
                Some(path) => beside(path),
                None if self.tree.contains(&flat) => flat,
                None => nested,
            };
            module.folder = match module.file.strip_suffix("mod.rs") {
                Some(folder) => folder.to_owned(),
                None => own_folder,
            };
            self.unread.push(index);
        }
        self.modules.modules.push(module);
        self.modules.modules[parent].children.insert(name, index);
        index
    }

    /// Reads an import from behind `use`, and returns the index behind its `;`.
    fn read_use(&mut self, module: usize, at: usize, is_public: bool) -> usize {
        // `impl Trait + use<'a>` is a bound.
        if self.is(at, "<") {
            return at;
        }
        let mut imports = Vec::new();
        let end = self.read_use_tree(at, &mut Vec::new(), is_public, &mut imports);
        self.modules.modules[module].imports.extend(imports);
        end + 1
    }

    fn read_use_tree(
        &self,
        mut at: usize,
        prefix: &mut Vec<&'a str>,
        is_public: bool,
        imports: &mut Vec<Import<'a>>,
    ) -> usize {
        let length = prefix.len();
        let mut name = None;
        let mut line = 0;
        while let Some(token) = self.tokens.get(at) {
            line = token.line;
            match token.text {
                ":" => at += 1,
                "{" => {
                    at += 1;
                    while !self.is(at, "}") && at < self.tokens.len() {
                        at = self.read_use_tree(at, prefix, is_public, imports);
                        if self.is(at, ",") {
                            at += 1;
                        }
                    }
                    prefix.truncate(length);
                    return at + 1;
                }
                "*" => {
                    imports.push(Import {
                        reference: Reference {
                            segments: prefix.clone(),
                            line,
                        },
                        name: None,
                        is_public,
                    });
                    prefix.truncate(length);
                    return at + 1;
                }
                "as" => {
                    name = self.tokens.get(at + 1).map(|token| token.text);
                    at += 2;
                }
                _ if token.kind == TokenKind::Identifier => {
                    prefix.push(token.text);
                    at += 1;
                }
                _ => break,
            }
        }
        if prefix.len() > 1 && prefix.last() == Some(&"self") {
            prefix.pop();
        }
        if let Some(last) = prefix.last() {
            imports.push(Import {
                name: Some(name.unwrap_or(last)),
                reference: Reference {
                    segments: prefix.clone(),
                    line,
                },
                is_public,
            });
        }
        prefix.truncate(length);
        at
    }

    /// Reads a path that begins at `at`, and returns the index behind it.
    fn read_path(&mut self, module: usize, mut at: usize) -> usize {
        let line = self.tokens[at].line;
        let mut segments = vec![self.tokens[at].text];
        while self.is(at + 1, ":") && self.is(at + 2, ":") && self.is_name(at + 3) {
            segments.push(self.tokens[at + 3].text);
            at += 3;
        }
        // A path of the crate root, `::name`, and one behind a generic type, `<T>::name`, name nothing of this crate.
        if segments.len() > 1 {
            self.modules.modules[module].paths.push(Reference { segments, line });
        }
        at + 1
    }
}

#[cfg(test)]
mod tests;
