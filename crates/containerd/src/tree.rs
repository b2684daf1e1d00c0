//! The files of a node as a value: the contents that were read, by the path that containerd uses.
//!
//! This crate never opens a file. The caller reads the paths in [`crate::ReadResult::missing`] and calls [`crate::read`]
//! again until no path is missing. So this crate follows `imports`, globs and `config_path`, and the caller does the I/O.

use std::collections::BTreeMap;

/// The entry at one path of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file (links are resolved in the node's root) with its contents.
    File(Vec<u8>),
    /// A folder with the names in it, sorted.
    Folder(Vec<String>),
    /// The path does not exist, or is a link to a path that does not exist.
    Absent,
    /// An entry that is not read: a FIFO, a device, a file over the size limit, a link out of the root. The text gives the
    /// reason as a fragment such as `is a FIFO`.
    Unusable(String),
}

/// The paths that were read, with their entries.
///
/// Paths are absolute, clean and `/`-separated, as the node's own containerd uses them. The root of an offline image is
/// never a part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Returns an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the entry at `path`.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// Returns the entry at `path`, or `None` if it was not read.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Returns the contents of the file at `path`, or `None` if it was not read or is not a file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        match self.get(path) {
            Some(Entry::File(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Iterates over all paths and entries, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}
