//! Follows links below the root by hand, to name what is wrong with them.
//!
//! `RESOLVE_IN_ROOT` alone is safe but silent: it turns `../../..` into the root itself. A link that climbs above the
//! root would on the real node mean another file than in an image, so it is refused by name. An absolute link in an
//! image means a path of that image and is followed below the root. What is found here is opened with
//! `RESOLVE_NO_SYMLINKS`, so a link that appears afterwards is an error and not another file.

use crate::files::root::{Root, join, split};
use rustix::fs::{
    FileType, OFlags, {self},
};
use rustix::io::Errno;
use std::collections::VecDeque;

/// As many as the kernel follows.
const LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ResolvedPath {
    /// To something, by this path without links.
    Found(String),
    /// To nothing.
    Missing {
        /// The nearest folder that exists, without links.
        anchor: String,
        /// The names below it that do not exist; the last is the file's.
        names: Vec<String>,
        /// The link that leads to nothing, when one does.
        dangling: Option<String>,
    },
}

/// Why a path leads nowhere that may be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ResolveError {
    /// This link, or the path itself, climbs above the root.
    Climbs(String),
    /// More links than the kernel follows.
    Loop,
    /// This is on the way and no folder.
    NotFolder(String),
    /// This link holds a name that is not UTF-8.
    NotUtf8(String),
    /// The path is not absolute, or holds a NUL.
    NotAPath,
    /// The kernel refused at this path.
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

/// Where `path` leads below `root`.
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
