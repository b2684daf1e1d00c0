//! What stands in the way of changing a file or a folder. Nothing is written to find out.

use crate::facts::fact::Fact;
use crate::facts::mounts::{
    Mount, {self},
};
use crate::facts::started::Started;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::Root;
use mirrorshift_containerd::Entry;
use mirrorshift_plan::Digest;
use rustix::fs::{
    AtFlags, OFlags, Statx, StatxAttributes, StatxFlags, StatxTimestamp, {self},
};
use serde::Serialize;
use std::io;

/// A file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFact {
    /// As it was asked for.
    pub path: String,
    /// The digest of its bytes; `None` when nothing is there.
    pub digest: Fact<Option<Digest>>,
    /// Bytes were last written: microseconds since 1970.
    pub modified_us: Fact<i64>,
    /// Bytes, name or attributes were last changed: microseconds since 1970. A file that was moved or copied into place
    /// may have an old time of modification, and never an old one of these.
    pub changed_us: Fact<i64>,
    /// Whether it was modified or moved here after the daemon was started, which then runs on other bytes.
    pub newer_than_daemon: Fact<bool>,
    /// What it stands on.
    pub ground: Fact<PathFacts>,
}

/// A folder that is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderFact {
    /// As it was asked for.
    pub path: String,
    /// What it stands on.
    pub ground: Fact<PathFacts>,
    /// What is left on its file system.
    pub space: Fact<FreeSpace>,
}

/// What a path stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathFacts {
    /// Where the path leads, without links.
    pub real: String,
    /// Whether something is mounted exactly there: such a file cannot be replaced (EBUSY).
    pub is_mount: Fact<bool>,
    /// Whether it is marked immutable or append-only, as by `chattr`.
    pub is_protected: Fact<bool>,
    /// The mount that it lies on.
    pub mount: Fact<Mount>,
}

/// What is left on a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreeSpace {
    /// Bytes free to those who are not root: what a change may count on.
    pub free_bytes: u64,
    /// Files that may still be made.
    pub free_files: Fact<u64>,
}

/// Looks at files and folders, all against one list of mounts.
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
            Entry::Folder(_) => Fact::unknown("is a folder"),
            Entry::Unusable(why) => Fact::Unavailable(why),
        };
        let looked = self.look(path);
        let time = |of: fn(&Statx) -> StatxTimestamp| looked.as_ref().map(|(_, stat)| microseconds(of(stat)));
        let (modified_us, changed_us) = (time(|stat| stat.stx_mtime), time(|stat| stat.stx_ctime));
        FileFact {
            path: path.to_owned(),
            newer_than_daemon: newer(&self.started, self.now_us, &modified_us, &changed_us),
            ground: looked.map(|(real, stat)| self.ground(real, &stat)),
            digest,
            modified_us,
            changed_us,
        }
    }

    pub(crate) fn folder(&self, path: &str) -> FolderFact {
        let ground = self.look(path).map(|(real, stat)| self.ground(real, &stat));
        let space = ground.as_ref().and_then(|ground| {
            let folder = self.root.folder(&ground.real);
            let space = folder.and_then(fs::fstatvfs).map(|stat| {
                let free_files = match stat.f_files {
                    // btrfs and others make them as they need them.
                    0 => Fact::unknown("the file system does not count its files"),
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

    /// Where a path leads, and what the kernel says of it.
    fn look(&self, path: &str) -> Fact<(String, Statx)> {
        let real = match resolve(self.root, path) {
            Ok(ResolvedPath::Found(real)) => real,
            Ok(ResolvedPath::Missing { .. }) => return Fact::unknown("is not there"),
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

    fn ground(&self, real: String, stat: &Statx) -> PathFacts {
        let mount = self.mounts.as_ref().and_then(|mounts| {
            let numbered = mounts.iter().find(|mount| mount.id == stat.stx_mnt_id);
            // Linux before 5.8 does not number them here.
            let has_number = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            match numbered.filter(|_| has_number).or_else(|| mounts::of(mounts, &real)) {
                Some(mount) => Fact::Value(mount.clone()),
                None => Fact::unknown("no mount holds it"),
            }
        });
        let attribute = |wanted: StatxAttributes| {
            if stat.stx_attributes_mask.intersects(wanted) {
                Fact::Value(stat.stx_attributes.intersects(wanted))
            } else {
                Fact::unknown("the kernel or the file system does not tell")
            }
        };
        let is_mount = match attribute(StatxAttributes::MOUNT_ROOT) {
            Fact::Value(is) => Fact::Value(is),
            // Linux before 5.8: the list of mounts knows as well.
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

/// Newer by either of its times. One that is yet to come is of another clock, and says nothing: a restart of the daemon would
/// not make it older than that.
fn newer(started: &Fact<Started>, now_us: i64, modified: &Fact<i64>, changed: &Fact<i64>) -> Fact<bool> {
    let of = |time: &Fact<i64>| {
        started.as_ref().and_then(|started| {
            time.as_ref().and_then(|at| {
                if *at > now_us {
                    Fact::unknown("it has a time that is yet to come, so the clock was set back since")
                } else {
                    started.is_before(*at)
                }
            })
        })
    };
    match (of(modified), of(changed)) {
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

    fn surveyor(root: &Root, started_us: i64) -> PathInspector<'_> {
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
    fn a_file_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real"), "version = 2\n").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("config.toml")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let hour = 3_600_000_000;
        let fact = surveyor(&root, now_us() + hour).file("/config.toml");
        assert_eq!(fact.digest, Fact::Value(Some(Digest::of(b"version = 2\n"))));
        assert_eq!(fact.newer_than_daemon, Fact::Value(false));
        let ground = fact.ground.known().unwrap();
        assert_eq!(
            (ground.real.as_str(), ground.is_mount.clone()),
            ("/real", Fact::Value(false))
        );
        let newer = surveyor(&root, now_us() - hour).file("/config.toml");
        assert_eq!(newer.newer_than_daemon, Fact::Value(true));
    }

    #[test]
    fn an_old_file_that_was_moved_into_place_is_newer_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(48)).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fact = surveyor(&root, now_us() - 3_600_000_000).file("/config.toml");
        assert!(fact.modified_us.known().unwrap() < fact.changed_us.known().unwrap());
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
        let fact = surveyor(&root, now_us()).file("/config.toml");
        assert!(fact.newer_than_daemon.known().is_none(), "{fact:?}");
        // By a clock that was set back, its other time is yet to come as well.
        let mut surveyor = surveyor(&root, now_us());
        surveyor.now_us -= i64::try_from(year.as_micros()).unwrap();
        file.set_modified(SystemTime::now() - 2 * year).unwrap();
        assert!(surveyor.file("/config.toml").newer_than_daemon.known().is_none());
    }

    #[test]
    fn what_is_absent_is_told_and_has_no_times() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let fact = surveyor(&root, 0).file("/config.toml");
        assert_eq!(fact.digest, Fact::Value(None));
        assert!(fact.modified_us.known().is_none() && fact.ground.known().is_none());
        assert!(fact.newer_than_daemon.known().is_none());
        assert!(surveyor(&root, 0).folder("/nowhere").space.known().is_none());
    }

    #[test]
    fn the_machines_own_mounts_and_space() {
        let root = Root::open("/").unwrap();
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut surveyor = surveyor(&root, 0);
        surveyor.mounts = Fact::Value(mounts::parse(&text));
        let fact = surveyor.folder("/proc");
        let ground = fact.ground.known().unwrap();
        assert_eq!(ground.mount.known().unwrap().kind, "proc");
        assert_eq!(ground.is_mount, Fact::Value(true));
        assert_eq!(
            fact.space.known().unwrap().free_files.known(),
            None,
            "it has no files to count"
        );
    }
}
