//! Opens paths under a root without leaving it.

use rustix::fd::OwnedFd;
use rustix::fs::{
    CWD, Mode, OFlags, ResolveFlags, {self},
};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// A node's file system: `/`, or a folder that holds an image or a copy.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    live: bool,
}

/// An error because of which a root cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The root does not exist, is not a folder, or may not be opened.
    #[error("cannot open the root `{}`", path.display())]
    Open {
        /// The path as the caller gave it.
        path: PathBuf,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// `openat2` is missing: Linux is older than 5.6, or a system call filter hides it. There is no fallback, because `openat`
    /// would need a check before each use, with time for a link to appear in between.
    #[error("this kernel has no `openat2`: Linux 5.6 or newer is needed")]
    NoOpenat2,
}

impl Root {
    /// Opens `dir` as the root of everything that follows.
    ///
    /// # Errors
    /// [`RootError`]; nothing is written in any case.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, RootError> {
        let open = |path: &Path| {
            fs::openat(
                CWD,
                path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let failed = |source: Errno| RootError::Open {
            path: dir.as_ref().to_owned(),
            source: source.into(),
        };
        let fd = open(dir.as_ref()).map_err(failed)?;
        let (this, host) = (fs::fstat(&fd).map_err(failed)?, fs::stat("/").map_err(failed)?);
        let root = Self {
            fd,
            live: (this.st_dev, this.st_ino) == (host.st_dev, host.st_ino),
        };
        match root.open_plain("", OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => Ok(root),
            Err(Errno::NOSYS) => Err(RootError::NoOpenat2),
            Err(source) => Err(failed(source)),
        }
    }

    /// Returns true if this is the `/` of the running machine.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Opens `path`, which must hold no link. A link that appeared since the path was resolved is `ELOOP`, not followed. (The
    /// last name may be a link when `flags` has both `PATH` and `NOFOLLOW`; the link itself is opened then.)
    pub(crate) fn open_plain(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let below = path.trim_start_matches('/');
        let below = if below.is_empty() { "." } else { below };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        // EAGAIN: a rename somewhere in the system raced with `..` handling inside the kernel. These paths have no `..`, but
        // the manual page requires a bounded retry in any case.
        let mut last = Errno::AGAIN;
        for _ in 0..16 {
            match fs::openat2(&self.fd, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(error @ (Errno::AGAIN | Errno::INTR)) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    /// Opens a folder whose path holds no link, so that names in it can be opened, synced and renamed.
    pub(crate) fn folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        // Not O_PATH: fsync on such a descriptor is EBADF.
        self.open_plain(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

/// The folder part and the last name of an absolute path.
pub(crate) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("/", path),
    }
}

/// `folder` and `name` as one path.
pub(crate) fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}
