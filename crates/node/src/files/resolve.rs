//! Follows links under the root by hand, so that an error can name the link.
//!
//! `RESOLVE_IN_ROOT` by itself is safe but silent: it turns `../../..` into the root. A link that climbs above the root would
//! lead to another file on the real node than in an image, so it is refused by name. An absolute link in an image is a path
//! of that image, and is followed under the root. The resolved path is opened with `RESOLVE_NO_SYMLINKS`, so that a link that
//! appears afterwards is an error.

use crate::files::root::{Root, join, split};
use rustix::fs::{
    FileType, OFlags, {self},
};
use rustix::io::Errno;
use std::collections::VecDeque;

/// The number of links that the kernel follows.
const LINKS: usize = 40;

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ResolvedPath {
    /// The target exists. The value is its path without links.
    Found(String),
    /// The target does not exist.
    Missing {
        /// The nearest folder that exists, without links.
        anchor: String,
        /// The missing names under that folder. The last is the file's.
        names: Vec<String>,
        /// The dangling link on the way, if there is one.
        dangling: Option<String>,
    },
}

/// An error because of which a path cannot be resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// The link, or the path itself, climbs above the root.
    Climbs(String),
    /// The path has more links than the kernel follows.
    Loop,
    /// The value is on the way and is not a folder.
    NotFolder(String),
    /// The link's target is not UTF-8.
    NotUtf8(String),
    /// The path is not absolute, or holds a NUL.
    NotAPath,
    /// A system call failed for the path.
    Io(String, Errno),
}

struct Name {
    text: String,
    link: Option<String>,
}

fn names(text: &str, link: Option<&str>) -> impl DoubleEndedIterator<Item = Name> {
    text.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .map(move |name| Name {
            text: name.to_owned(),
            link: link.map(str::to_owned),
        })
}

/// Resolves `path` under `root`.
pub(crate) fn resolve(root: &Root, path: &str) -> Result<ResolvedPath, ResolveError> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(ResolveError::NotAPath);
    }
    let mut todo: VecDeque<Name> = names(path, None).collect();
    let mut here = String::from("/");
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name.text == ".." {
            if here == "/" {
                return Err(ResolveError::Climbs(name.link.unwrap_or_else(|| path.to_owned())));
            }
            // `here` holds no link, so its parent by name is its parent on disk.
            here.truncate(split(&here).0.len());
            continue;
        }
        let next = join(&here, &name.text);
        let fd = match root.open_plain(&next, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let dangling = name
                    .link
                    .clone()
                    .or_else(|| todo.iter().find_map(|name| name.link.clone()));
                let names: Vec<_> = std::iter::once(name).chain(todo).map(|name| name.text).collect();
                return Ok(ResolvedPath::Missing {
                    anchor: here,
                    names,
                    dangling,
                });
            }
            Err(Errno::NOTDIR) => return Err(ResolveError::NotFolder(here)),
            Err(error) => return Err(ResolveError::Io(next, error)),
        };
        let stat = fs::fstat(&fd).map_err(|error| ResolveError::Io(next.clone(), error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            here = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(ResolveError::Loop);
        }
        let target = fs::readlinkat(&fd, "", Vec::new()).map_err(|error| ResolveError::Io(next.clone(), error))?;
        let Ok(target) = target.into_string() else {
            return Err(ResolveError::NotUtf8(next));
        };
        if target.starts_with('/') {
            here = String::from("/");
        }
        for name in names(&target, Some(&next)).rev() {
            todo.push_front(name);
        }
    }
    Ok(ResolvedPath::Found(here))
}
