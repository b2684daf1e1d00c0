//! The files of a node as a value: what was read, by the path that containerd uses.
//!
//! This crate never opens a file. A caller reads what [`Tree::missing`] names and asks again until nothing is missing,
//! so following `imports`, globs and `config_path` stays here and reading stays with the caller.

use std::collections::BTreeMap;

/// What stands at one path of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file (links are resolved below the node's root) and its bytes.
    File(Vec<u8>),
    /// A folder and the names in it, sorted.
    Folder(Vec<String>),
    /// Nothing, or a link to nothing.
    Absent,
    /// Something that is not read: a FIFO, a device, a file over the limit, a link out of the root. The text says what
    /// and why, as a fragment such as `is a FIFO`.
    Unusable(String),
}

/// Paths that were read and what stood there. Paths are absolute, cleaned, `/`-separated, as the node's own containerd
/// would write them (never with the root of an offline image in front).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// A tree in which nothing was read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what was read at `path`.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// What stands at `path`, or `None` when it was not read.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The bytes of the file at `path`, when it was read and is one.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        match self.get(path) {
            Some(Entry::File(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Every path with what stands there, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}
