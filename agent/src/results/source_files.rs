//! The files that a command read.

use crate::node::LoadedNode;
use mirrorshift_containerd::Entry;
use std::path::Path;

/// A file that a command tried to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Absolute path as the node sees it.
    pub(crate) path: String,
    /// False if there is no such file.
    pub(crate) found: bool,
}

/// The files that a command read, containerd's configuration first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceFiles {
    pub(crate) files: Vec<SourceFile>,
    /// The path of the configuration on this machine, under the root, if the configuration does not exist.
    pub(crate) missing_config: Option<String>,
}

impl SourceFiles {
    /// Returns the files of a node. Directories are not listed, and absent files only if they are the configuration.
    pub(crate) fn of_node(node: &LoadedNode, root: &Path) -> Self {
        let mut files: Vec<SourceFile> = node
            .tree
            .iter()
            .filter(|(path, entry)| matches!(entry, Entry::File(_)) || *path == node.config)
            .map(|(path, entry)| SourceFile {
                path: path.to_owned(),
                found: matches!(entry, Entry::File(_) | Entry::Unusable(_)),
            })
            .collect();
        // Stable: the other files keep the order of their paths.
        files.sort_by_key(|file| file.path != node.config);
        let is_missing = matches!(node.tree.get(&node.config), None | Some(Entry::Absent));
        Self {
            missing_config: is_missing.then(|| root.join(node.config.trim_start_matches('/')).display().to_string()),
            files,
        }
    }
}
