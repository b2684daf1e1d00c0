//! `imports`: which files a file names, in the order in which containerd loads them.

use crate::rules::Rule;
use crate::tree::{Entry, Tree};
use crate::version::Version;
use glob::{MatchOptions, Pattern};

/// What one entry of `imports` leads to.
pub(super) struct Resolved {
    /// Absolute paths, sorted as `filepath.Glob` sorts them.
    pub(super) paths: Vec<String>,
    /// Whether the entry was a relative glob below the daemon's working directory.
    pub(super) below_working_directory: bool,
}

/// Resolves one entry of `imports` in the file `parent`. Folders that were not read yet are added to `missing`.
pub(super) fn resolve(
    version: &Version,
    parent: &str,
    entry: &str,
    tree: &Tree,
    missing: &mut Vec<String>,
) -> Resolved {
    let globbed = entry.contains('*');
    let relative = !entry.starts_with('/');
    // systemd starts services in `/`, so that is where such a glob is looked up.
    let below_working_directory = globbed && relative && version.has(Rule::GlobBelowWorkingDirectory);
    let folder = if below_working_directory {
        "/"
    } else {
        parent_of(parent)
    };
    let path = if relative {
        clean(&format!("{folder}/{entry}"))
    } else {
        clean(entry)
    };
    let paths = if globbed {
        expand(&path, tree, missing)
    } else {
        vec![path]
    };
    Resolved {
        paths,
        below_working_directory,
    }
}

/// The folder of a cleaned absolute path.
pub(crate) fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

/// A path without `.`, `..`, doubled and trailing slashes, as Go's `filepath.Clean` makes it of an absolute path.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn expand(pattern: &str, tree: &Tree, missing: &mut Vec<String>) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').skip(1) {
        let mut next = Vec::new();
        for folder in found {
            if !part.contains(['*', '?', '[', '\\']) {
                next.push(format!("{folder}/{part}"));
                continue;
            }
            let at = if folder.is_empty() { "/" } else { &folder };
            match tree.get(at) {
                Some(Entry::Folder(names)) => {
                    next.extend(
                        names
                            .iter()
                            .filter(|name| matches(part, name))
                            .map(|name| format!("{folder}/{name}")),
                    );
                }
                Some(_) => {}
                None => missing.push(at.to_owned()),
            }
        }
        found = next;
    }
    found
}

fn matches(pattern: &str, name: &str) -> bool {
    // Go negates a class with `^` and knows no `**`; both mean the same to the library in other words.
    let mut pattern = pattern.replace("[^", "[!");
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    Pattern::new(&pattern).is_ok_and(|pattern| pattern.matches_with(name, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(version: &str, entry: &str) -> Vec<String> {
        let mut tree = Tree::new();
        let names = ["10-a.toml", ".9-hidden.toml", "20-b.conf"].map(str::to_owned);
        tree.insert("/etc/containerd/conf.d", Entry::Folder(names.to_vec()));
        tree.insert("/conf.d", Entry::Folder(vec!["wd.toml".to_owned()]));
        let mut missing = Vec::new();
        let found = resolve(
            &version.parse().unwrap(),
            "/etc/containerd/config.toml",
            entry,
            &tree,
            &mut missing,
        );
        assert!(missing.is_empty(), "{missing:?}");
        found.paths
    }

    #[test]
    fn relative_absolute_and_globbed() {
        assert_eq!(resolved("1.7.24", "a/../b.toml"), ["/etc/containerd/b.toml"]);
        assert_eq!(resolved("1.7.24", "/x//y.toml"), ["/x/y.toml"]);
        // A dot file matches `*`: a temporary file must not end in .toml.
        let both = [
            "/etc/containerd/conf.d/10-a.toml",
            "/etc/containerd/conf.d/.9-hidden.toml",
        ];
        assert_eq!(resolved("1.7.24", "/etc/containerd/conf.d/*.toml"), both);
        assert_eq!(resolved("1.7.24", "conf.d/*.toml"), both);
        assert_eq!(resolved("1.7.15", "conf.d/*.toml"), ["/conf.d/wd.toml"]);
        assert_eq!(resolved("2.4.2", "conf.d/[^.]*.toml"), [both[0]]);
    }
}
