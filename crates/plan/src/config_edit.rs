//! The edits of configuration files that remove `mirrors` and set `config_path`.

use crate::edit;
use crate::edit::request::{EditRequest, Removal, SetKey};
use crate::edit::result::{EditResult, RemovedText};
use crate::step::{Digest, Expect, Step};
use mirrorshift_containerd::{Config, Entry, Source, Tree};

/// Edited configuration files.
#[derive(Debug, Default)]
pub(crate) struct ConfigEdit {
    /// The edited files, in the order in which they are put in place. The file that gains `config_path` is last.
    pub(crate) steps: Vec<Step>,
    /// Comments that are removed together with a table, each with its file.
    pub(crate) comments: Vec<(String, RemovedText)>,
    /// Keys that containerd never read, each with its file. They stay as comments.
    pub(crate) kept: Vec<(String, RemovedText)>,
}

/// The keys that containerd reads in a `mirrors` entry.
const MIRROR_KEYS: &[&str] = &["endpoint"];
/// The keys that containerd reads in a `tls` table.
const TLS_KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "insecure_skip_verify"];

/// Edits every file that registry settings in use come from, so that `config_path` becomes `root`. `tree` gets the edited
/// files too.
pub(crate) fn edit_config(config: &Config, root_file: &str, root: &str, tree: &mut Tree) -> ConfigEdit {
    let mut edits = ConfigEdit::default();
    let sources = config.sources();
    let gaining = gaining(config, &sources);
    if config.document.files.is_empty() {
        let schema = if gaining
            .1
            .get(1)
            .is_some_and(|id| id == mirrorshift_containerd::CRI_IMAGES)
        {
            3
        } else {
            2
        };
        let id = if schema == 3 {
            mirrorshift_containerd::CRI_IMAGES
        } else {
            mirrorshift_containerd::CRI_TWO
        };
        let text = format!("version = {schema}\n\n[plugins.\"{id}\".registry]\n  config_path = \"{root}\"\n");
        tree.insert(root_file, Entry::File(text.clone().into_bytes()));
        let why = "adds the file, because `config_path` has to be set in one".to_owned();
        edits.steps.push(Step {
            path: root_file.to_owned(),
            expect: Expect::Absent,
            content: Some(text.into_bytes()),
            why,
        });
        return edits;
    }
    let losing = sources
        .iter()
        .map(|source| source.file)
        .filter(|file| *file != gaining.0)
        .rev();
    let mut order: Vec<usize> = Vec::new();
    for file in losing.chain([gaining.0]) {
        if !order.contains(&file) {
            order.push(file);
        }
    }
    for index in order {
        let set = (index == gaining.0).then(|| SetKey {
            table: gaining.1.clone(),
            key: "config_path",
            value: root,
        });
        edit_one(config, index, &sources, set, tree, &mut edits);
    }
    edits
}

/// Returns the file and the table that get `config_path`: those that already have it, otherwise the first that loses
/// something, otherwise those of the plugin's settings.
fn gaining(config: &Config, sources: &[Source]) -> (usize, Vec<String>) {
    let with_path = sources.iter().rfind(|source| source.config_path);
    match with_path.or_else(|| sources.first()) {
        Some(source) => (source.file, source.table.clone()),
        None => config.place_for_registry(),
    }
}

fn edit_one(
    config: &Config,
    index: usize,
    sources: &[Source],
    set: Option<SetKey<'_>>,
    tree: &mut Tree,
    edits: &mut ConfigEdit,
) {
    let Some(file) = config.document.files.get(index) else {
        return;
    };
    let own = sources.iter().filter(|source| source.file == index);
    let mut removals = Vec::new();
    for source in own {
        let path_of = |tail: &[&str]| {
            source
                .table
                .iter()
                .cloned()
                .chain(tail.iter().map(|part| (*part).to_owned()))
                .collect()
        };
        if source.mirrors {
            removals.push(Removal {
                path: path_of(&["mirrors"]),
                depth: 1,
                known: MIRROR_KEYS,
            });
        }
        if source.tls {
            let hosts = config.registry.configs.iter().filter(|(_, host)| host.tls.is_some());
            removals.extend(hosts.map(|(host, _)| Removal {
                path: path_of(&["configs", host, "tls"]),
                depth: 0,
                known: TLS_KEYS,
            }));
        }
    }
    let why = match (removals.is_empty(), set.is_some()) {
        (false, true) => "removes `mirrors`, sets `config_path`",
        (false, false) => "removes `mirrors`",
        (true, _) => "sets `config_path`",
    };
    let Some(EditResult { text, comments, kept }) = edit::edit(&file.parsed, &EditRequest { removals, set }) else {
        return;
    };
    edits
        .comments
        .extend(comments.into_iter().map(|text| (file.path.clone(), text)));
    edits
        .kept
        .extend(kept.into_iter().map(|text| (file.path.clone(), text)));
    let expect = Expect::File(Digest::of(file.parsed.text.as_bytes()));
    tree.insert(file.path.clone(), Entry::File(text.clone().into_bytes()));
    edits.steps.push(Step {
        path: file.path.clone(),
        expect,
        content: Some(text.into_bytes()),
        why: why.to_owned(),
    });
}
