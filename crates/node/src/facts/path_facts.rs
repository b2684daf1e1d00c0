//! Properties of files and folders that can prevent a change. They are read without writing anything.

use crate::facts::fact::Fact;
use crate::facts::mounts::{self, Mount};
use crate::facts::started::Started;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::Root;
use mirrorshift_containerd::Entry;
use mirrorshift_plan::Digest;
use rustix::fs::{self, AtFlags, OFlags, Statx, StatxAttributes, StatxFlags, StatxTimestamp};
use serde::Serialize;
use std::io;

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFact {
    /// The path as requested.
    pub path: String,
    /// The digest of the contents; `None` if the file does not exist.
    pub digest: Fact<Option<Digest>>,
    /// The time at which the contents were last written: microseconds since 1970.
    pub modified_us: Fact<i64>,
    /// The time at which the contents, name or attributes last changed: microseconds since 1970. A file that was moved
    /// or copied into place may have an old modification time, but never an old change time.
    pub changed_us: Fact<i64>,
    /// True if the file was modified or moved here after the daemon was started, so that the daemon runs with other
    /// contents.
    pub newer_than_daemon: Fact<bool>,
    /// The properties of the path.
    pub ground: Fact<PathFacts>,
}

/// A folder that a change writes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderFact {
    /// The path as requested.
    pub path: String,
    /// The properties of the path.
    pub ground: Fact<PathFacts>,
    /// The free space of its file system.
    pub space: Fact<FreeSpace>,
}

/// The properties of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathFacts {
    /// The path after links were followed.
    pub real: String,
    /// True if a mount point is exactly there. Such a file cannot be replaced (`EBUSY`).
    pub is_mount: Fact<bool>,
    /// True if `chattr` or another program made it immutable or append-only.
    pub is_protected: Fact<bool>,
    /// The mount that contains it.
    pub mount: Fact<Mount>,
}

/// The free space of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreeSpace {
    /// The number of bytes that are free to users other than root. A change relies only on these.
    pub free_bytes: u64,
    /// The number of files that can still be created.
    pub free_files: Fact<u64>,
}

/// Inspects files and folders with one list of mounts.
pub(crate) struct PathInspector<'n> {
    pub(crate) root: &'n Root,
    pub(crate) mounts: Fact<Vec<Mount>>,
    pub(crate) started: Fact<Started>,
    /// The time of day: microseconds since 1970.
    pub(crate) now_us: i64,
}

impl PathInspector<'_> {
    pub(crate) fn file(&self, path: &str) -> FileFact {
        let digest = match self.root.entry(path) {
            Entry::File(bytes) => Fact::Value(Some(Digest::of(&bytes))),
            Entry::Absent => Fact::Value(None),
            Entry::Folder(_) => Fact::unavailable("is a folder"),
            Entry::Unusable(why) => Fact::Unavailable(why),
        };
        let found = self.stat(path);
        let time = |of: fn(&Statx) -> StatxTimestamp| found.as_ref().map(|(_, stat)| microseconds(of(stat)));
        let (modified_us, changed_us) = (time(|stat| stat.stx_mtime), time(|stat| stat.stx_ctime));
        FileFact {
            path: path.to_owned(),
            newer_than_daemon: is_newer(&self.started, self.now_us, &modified_us, &changed_us),
            ground: found.map(|(real, stat)| self.path_facts(real, &stat)),
            digest,
            modified_us,
            changed_us,
        }
    }

    pub(crate) fn folder(&self, path: &str) -> FolderFact {
        let ground = self.stat(path).map(|(real, stat)| self.path_facts(real, &stat));
        let space = ground.as_ref().and_then(|ground| {
            let folder = self.root.folder(&ground.real);
            let space = folder.and_then(fs::fstatvfs).map(|stat| {
                let free_files = match stat.f_files {
                    // btrfs and others create inodes as they need them.
                    0 => Fact::unavailable("the file system does not count its files"),
                    _ => Fact::Value(stat.f_favail),
                };
                FreeSpace {
                    free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
                    free_files,
                }
            });
            space.map_err(io::Error::from).into()
        });
        FolderFact {
            path: path.to_owned(),
            ground,
            space,
        }
    }

    /// Follows the links of a path, and reads the properties of the file there.
    fn stat(&self, path: &str) -> Fact<(String, Statx)> {
        let real = match resolve(self.root, path) {
            Ok(ResolvedPath::Found(real)) => real,
            Ok(ResolvedPath::Missing { .. }) => return Fact::unavailable("does not exist"),
            Err(lost) => return Fact::Unavailable(lost.fragment(path)),
        };
        let stat = self
            .root
            .open_plain(&real, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|fd| {
                let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
                fs::statx(&fd, "", AtFlags::EMPTY_PATH, wanted)
            });
        Fact::from(stat.map_err(io::Error::from)).map(|stat| (real, stat))
    }

    fn path_facts(&self, real: String, stat: &Statx) -> PathFacts {
        let mount = self.mounts.as_ref().and_then(|mounts| {
            let numbered = mounts.iter().find(|mount| mount.id == stat.stx_mnt_id);
            // Linux before 5.8 does not report the mount's id here.
            let has_number = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            match numbered
                .filter(|_| has_number)
                .or_else(|| mounts::mount_of(mounts, &real))
            {
                Some(mount) => Fact::Value(mount.clone()),
                None => Fact::unavailable("no mount contains it"),
            }
        });
        let attribute = |wanted: StatxAttributes| {
            if stat.stx_attributes_mask.intersects(wanted) {
                Fact::Value(stat.stx_attributes.intersects(wanted))
            } else {
                Fact::unavailable("the kernel or the file system does not report it")
            }
        };
        let is_mount = match attribute(StatxAttributes::MOUNT_ROOT) {
            Fact::Value(is) => Fact::Value(is),
            // Linux before 5.8: the list of mounts shows the same.
            Fact::Unavailable(_) => mount.as_ref().map(|mount| mount.point == real),
        };
        PathFacts {
            is_mount,
            is_protected: attribute(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
            mount,
            real,
        }
    }
}

/// Returns true if the later of a file's times is after the start of the daemon. A time in the future is from another
/// clock setting and decides nothing: restarting the daemon would not make it older than that time.
fn is_newer(started: &Fact<Started>, now_us: i64, modified: &Fact<i64>, changed: &Fact<i64>) -> Fact<bool> {
    let is_after_start = |time: &Fact<i64>| {
        started.as_ref().and_then(|started| {
            time.as_ref().and_then(|at| {
                if *at > now_us {
                    Fact::unavailable("its time is in the future, so the clock was set back since")
                } else {
                    started.is_before(*at)
                }
            })
        })
    };
    match (is_after_start(modified), is_after_start(changed)) {
        (Fact::Value(false), Fact::Value(false)) => Fact::Value(false),
        (Fact::Value(true), _) | (_, Fact::Value(true)) => Fact::Value(true),
        (Fact::Unavailable(why), _) | (_, Fact::Unavailable(why)) => Fact::Unavailable(why),
    }
}

fn microseconds(time: StatxTimestamp) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(time.tv_nsec) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    fn inspector(root: &Root, started_us: i64) -> PathInspector<'_> {
        PathInspector {
            root,
            mounts: Fact::Value(vec![]),
            started: Fact::Value(Started {
                at_us: started_us,
                noted_us: Some(started_us),
            }),
            now_us: now_us(),
        }
    }

    fn now_us() -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_micros()).unwrap()
    }

    #[test]
    fn file_follows_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real"), "version = 2\n").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("config.toml")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let hour = 3_600_000_000;
        let fact = inspector(&root, now_us() + hour).file("/config.toml");
        assert_eq!(fact.digest, Fact::Value(Some(Digest::of(b"version = 2\n"))));
        assert_eq!(fact.newer_than_daemon, Fact::Value(false));
        let ground = fact.ground.value().unwrap();
        assert_eq!(
            (ground.real.as_str(), ground.is_mount.clone()),
            ("/real", Fact::Value(false))
        );
        let newer = inspector(&root, now_us() - hour).file("/config.toml");
        assert_eq!(newer.newer_than_daemon, Fact::Value(true));
    }

    #[test]
    fn file_that_was_moved_into_place_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(48)).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fact = inspector(&root, now_us() - 3_600_000_000).file("/config.toml");
        assert!(fact.modified_us.value().unwrap() < fact.changed_us.value().unwrap());
        assert_eq!(fact.newer_than_daemon, Fact::Value(true));
    }

    #[test]
    fn future_mtime_is_inconclusive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let year = Duration::from_hours(365 * 24);
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() + year).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fact = inspector(&root, now_us()).file("/config.toml");
        assert!(fact.newer_than_daemon.value().is_none(), "{fact:?}");
        // After the clock was set back, the change time is in the future as well.
        let mut inspector = inspector(&root, now_us());
        inspector.now_us -= i64::try_from(year.as_micros()).unwrap();
        file.set_modified(SystemTime::now() - 2 * year).unwrap();
        assert!(inspector.file("/config.toml").newer_than_daemon.value().is_none());
    }

    #[test]
    fn absent_file_has_no_digest_and_no_times() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fact = inspector(&root, 0).file("/config.toml");
        assert_eq!(fact.digest, Fact::Value(None));
        assert!(fact.modified_us.value().is_none() && fact.ground.value().is_none());
        assert!(fact.newer_than_daemon.value().is_none());
        assert!(inspector(&root, 0).folder("/nowhere").space.value().is_none());
    }

    #[test]
    fn folder_reads_the_mounts_and_space_of_this_machine() {
        let root = Root::open("/").unwrap();
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut inspector = inspector(&root, 0);
        inspector.mounts = Fact::Value(mounts::parse(&text));
        let fact = inspector.folder("/proc");
        let ground = fact.ground.value().unwrap();
        assert_eq!(ground.mount.value().unwrap().kind, "proc");
        assert_eq!(ground.is_mount, Fact::Value(true));
        assert_eq!(
            fact.space.value().unwrap().free_files.value(),
            None,
            "procfs does not count its files"
        );
    }
}
