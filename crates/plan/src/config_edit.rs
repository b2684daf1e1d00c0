//! The edits that take `mirrors` out of the configuration and put `config_path` in.

use crate::edit::{
    EditResult, Removal, RemovedText, SetKey, {self},
};
use crate::step::{Digest, Expect, Step};
use mirrorshift_containerd::{Config, Entry, Source, Tree};

/// Edited configuration files.
#[derive(Debug, Default)]
pub(crate) struct ConfigEdit {
    /// In the order in which they are put in place: the file that gains `config_path` is last.
    pub(crate) steps: Vec<Step>,
    /// Comments that went with a table, by file.
    pub(crate) comments: Vec<(String, RemovedText)>,
    /// Keys that containerd never read and that stay as comments, by file.
    pub(crate) kept: Vec<(String, RemovedText)>,
}

/// Keys that containerd reads in a `mirrors` entry.
const MIRROR_KEYS: &[&str] = &["endpoint"];
/// Keys that containerd reads in a `tls` table.
const TLS_KEYS: &[&str] = &["ca_file", "cert_file", "key_file", "insecure_skip_verify"];

/// Edits every file that live settings came from so that `config_path` becomes `root`, in `tree` too.
pub(crate) fn edit_config(config: &Config, root_file: &str, root: &str, tree: &mut Tree) -> ConfigEdit {
    let mut configured = ConfigEdit::default();
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
        let why = "containerd needs a file to be told of config_path".to_owned();
        configured.steps.push(Step {
            path: root_file.to_owned(),
            expect: Expect::Absent,
            content: Some(text.into_bytes()),
            why,
        });
        return configured;
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
        edit_one(config, index, &sources, set, tree, &mut configured);
    }
    configured
}

/// The file and table that get `config_path`: where it stands already, else the first that loses something, else where
/// the plugin's settings belong.
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
    configured: &mut ConfigEdit,
) {
    let Some(file) = config.document.files.get(index) else {
        return;
    };
    let own = sources.iter().filter(|source| source.file == index);
    let mut cuts = Vec::new();
    for source in own {
        let below = |tail: &[&str]| {
            source
                .table
                .iter()
                .cloned()
                .chain(tail.iter().map(|part| (*part).to_owned()))
                .collect()
        };
        if source.mirrors {
            cuts.push(Removal {
                path: below(&["mirrors"]),
                depth: 1,
                known: MIRROR_KEYS,
            });
        }
        if source.tls {
            let hosts = config.registry.configs.iter().filter(|(_, host)| host.tls.is_some());
            cuts.extend(hosts.map(|(host, _)| Removal {
                path: below(&["configs", host, "tls"]),
                depth: 0,
                known: TLS_KEYS,
            }));
        }
    }
    let why = match (cuts.is_empty(), set.is_some()) {
        (false, true) => "mirrors go, config_path comes",
        (false, false) => "mirrors go",
        (true, _) => "config_path comes",
    };
    let Some(EditResult { text, comments, kept }) = edit::edit(&file.parsed, &edit::EditRequest { cuts, set }) else {
        return;
    };
    configured
        .comments
        .extend(comments.into_iter().map(|gone| (file.path.clone(), gone)));
    configured
        .kept
        .extend(kept.into_iter().map(|gone| (file.path.clone(), gone)));
    let expect = Expect::File(Digest::of(file.parsed.text.as_bytes()));
    tree.insert(file.path.clone(), Entry::File(text.clone().into_bytes()));
    configured.steps.push(Step {
        path: file.path.clone(),
        expect,
        content: Some(text.into_bytes()),
        why: why.to_owned(),
    });
}
