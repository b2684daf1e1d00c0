//! The files that `imports` name, in the order in which containerd loads them.

use crate::rules::Rule;
use crate::tree::{Entry, Tree};
use crate::version::Version;
use glob::{MatchOptions, Pattern};

/// The files of one entry of `imports`.
pub(super) struct Resolved {
    /// The absolute paths, sorted as by `filepath.Glob`.
    pub(super) paths: Vec<String>,
    /// True if the entry is a relative glob that is resolved in the daemon's working directory.
    pub(super) in_working_directory: bool,
}

/// Resolves one entry of `imports` in the file `parent`. Adds folders that were not read to `missing`.
pub(super) fn resolve(
    version: &Version,
    parent: &str,
    entry: &str,
    tree: &Tree,
    missing: &mut Vec<String>,
) -> Resolved {
    let globbed = entry.contains('*');
    let relative = !entry.starts_with('/');
    // systemd starts services in `/`, so that is the working directory.
    let in_working_directory = globbed && relative && version.has(Rule::GlobBelowWorkingDirectory);
    let folder = if in_working_directory { "/" } else { parent_of(parent) };
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
        in_working_directory,
    }
}

/// Returns the folder of a clean absolute path.
pub(crate) fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

/// Removes `.`, `..`, double and trailing slashes from an absolute path, as Go's `filepath.Clean` does.
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
    // Go negates a class with `^` and has no `**`, so both are converted to the library's notation.
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
    fn resolve_handles_relative_absolute_and_globbed_entries() {
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
