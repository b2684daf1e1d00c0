//! The input of an edit: the tables to remove, and the key to set.

/// The edits to make in one file.
pub(crate) struct EditRequest<'r> {
    pub(crate) removals: Vec<Removal>,
    pub(crate) set: Option<SetKey<'r>>,
}

/// A table to remove with everything in it, except for keys that containerd does not read.
pub(crate) struct Removal {
    pub(crate) path: Vec<String>,
    /// The depth of containerd's own keys, counted from `path`.
    pub(crate) depth: usize,
    /// Those keys. Another key at that depth is not ours to remove: it stays as a comment.
    pub(crate) known: &'static [&'static str],
}

impl Removal {
    pub(super) fn covers(&self, path: &[String]) -> bool {
        path.starts_with(&self.path)
    }

    pub(super) fn is_foreign(&self, path: &[String]) -> bool {
        let depth = self.path.len() + self.depth;
        path.len() > depth + 1 || path.len() == depth + 1 && !self.known.contains(&path[depth].as_str())
    }
}

/// A key to set to a string.
pub(crate) struct SetKey<'r> {
    pub(crate) table: Vec<String>,
    pub(crate) key: &'r str,
    pub(crate) value: &'r str,
}
