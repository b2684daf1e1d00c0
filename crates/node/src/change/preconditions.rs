//! Checks the files of a plan before anything is changed.

use crate::change::change_plan::ChangePlan;
use crate::error::NodeError;
use crate::files::entry::FILE_LIMIT;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::journal::file::Journal;
use crate::journal::record::{Change, StepRecord};
use crate::journal::state_dir::StateDir;
use crate::paths::STATE_DIR;
use mirrorshift_plan::change::{Phase, StepProgress};
use mirrorshift_plan::{Digest, Expect, Step};
use rustix::fd::OwnedFd;
use rustix::fs::{
    StatVfsMountFlags, {self},
};
use rustix::io::Errno;
use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};

/// A plan that may be armed, unless a file was modified by another program.
pub(crate) struct CheckedPlan {
    pub(crate) change: Change,
    /// The new contents of each step.
    pub(crate) new: Vec<Option<Vec<u8>>>,
    /// The original contents of each step.
    pub(crate) old: Vec<Option<Vec<u8>>>,
    /// For each step whose file is not the expected one: what was found instead.
    pub(crate) foreign: Vec<Option<String>>,
}

/// Checks every file of `plan`. Steps that would change nothing are left out.
///
/// # Errors
/// The first step that cannot be carried out, with the reason. Nothing was written.
pub(crate) fn check(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    plan: &ChangePlan,
    id: &str,
    now: u64,
) -> Result<CheckedPlan, NodeError> {
    let mut checked = CheckedPlan {
        change: new_change(plan, id, now),
        new: Vec::new(),
        old: Vec::new(),
        foreign: Vec::new(),
    };
    let mut targets = BTreeSet::new();
    let mut space = RequiredSpace::default();
    for step in &plan.steps {
        let after = step.content.as_deref().map(Digest::of);
        match (step.expect, after) {
            (Expect::File(before), Some(after)) if before == after => continue,
            (Expect::Absent, None) => continue,
            _ => {}
        }
        let at = checked.change.steps.len();
        let location = locate(root, step)?;
        let unsuitable = |what: String, hint| NodeError::Unsuitable {
            path: step.path.clone(),
            what,
            hint,
        };
        if !targets.insert(location.target.clone()) {
            let what = format!("is the same file as another of this plan (`{}`)", location.target);
            return Err(unsuitable(
                what,
                "replace one of the links by a separate file, or remove it from `imports`",
            ));
        }
        if step
            .content
            .as_ref()
            .is_some_and(|bytes| bytes.len() as u64 > FILE_LIMIT)
        {
            return Err(unsuitable(
                format!("would be larger than {FILE_LIMIT} bytes"),
                "split the file with `imports`",
            ));
        }
        let (folder, name) = split(&location.target);
        let (before, old, foreign) = match (&location.stat, step.expect) {
            (PathStat::Other(what), _) => {
                return Err(unsuitable(what.clone(), "replace it by a plain file, or remove it"));
            }
            (PathStat::Nothing, Expect::Absent) => (None, None, None),
            (PathStat::Nothing, Expect::File(_)) => (None, None, Some("it was removed")),
            (PathStat::File(now), expect) => {
                now.replaceable(&step.path, root.is_live())?;
                let foreign = match expect {
                    Expect::Absent => Some("the file exists now"),
                    Expect::File(digest) if digest != now.record.digest => {
                        Some("its contents changed after the plan was made")
                    }
                    Expect::File(_) => None,
                };
                (Some(now.record.clone()), Some(now.bytes.clone()), foreign)
            }
        };
        let owned = journal.owned.get(&step.path).copied();
        if after.is_none() && !owned.is_some_and(|owned| owned.made && step.expect == Expect::File(owned.digest)) {
            return Err(unsuitable(
                "was not created by mirrorshift, so it is not removed".to_owned(),
                "remove it by hand if no program needs it",
            ));
        }
        let copy_folder = if location.missing == 0 {
            folder
        } else {
            location.anchor.as_str()
        };
        let beside = join(copy_folder, &format!(".{name}.{id}-{at}.new"));
        space.add(&location.folder, copy_folder, step.content.as_ref().map_or(0, Vec::len))?;
        space.add(&state.fd, STATE_DIR, old.as_ref().map_or(0, Vec::len))?;
        checked.change.steps.push(StepRecord {
            path: step.path.clone(),
            target: location.target,
            beside,
            why: step.why.clone(),
            before,
            after,
            restores: None,
            owned,
            mark: StepProgress::Waiting,
        });
        checked.new.push(step.content.clone());
        checked.old.push(old);
        checked.foreign.push(foreign.map(str::to_owned));
    }
    space.check()?;
    Ok(checked)
}

/// Returns the change of `plan` before its first move.
fn new_change(plan: &ChangePlan, id: &str, now: u64) -> Change {
    Change {
        id: id.to_owned(),
        plan: plan.digest,
        containerd: plan.containerd.clone(),
        began: now,
        ended: None,
        phase: Phase::Idle,
        settled: false,
        note: None,
        why: None,
        undoes: None,
        is_repair: false,
        folders: Vec::new(),
        leaves: Vec::new(),
        new_file_mode: plan.new_file_mode & 0o777,
        service: None,
        steps: Vec::new(),
    }
}

/// The file of a step, resolved.
struct Location {
    target: String,
    /// The nearest existing folder.
    anchor: String,
    folder: OwnedFd,
    /// The number of missing folders between `anchor` and the file.
    missing: usize,
    stat: PathStat,
}

fn locate(root: &Root, step: &Step) -> Result<Location, NodeError> {
    let unsuitable = |what: String, hint| NodeError::Unsuitable {
        path: step.path.clone(),
        what,
        hint,
    };
    let hint = "replace it by a plain file, or by a link to a file under the root";
    let is_clean = step.path.starts_with('/')
        && step
            .path
            .split('/')
            .skip(1)
            .all(|name| !matches!(name, "" | "." | ".."));
    if !is_clean {
        return Err(unsuitable(
            "is not a clean absolute path".to_owned(),
            "this is a defect of mirrorshift: report it",
        ));
    }
    let (target, anchor, missing) = match resolve(root, &step.path) {
        Err(error) => return Err(unsuitable(error.fragment(&step.path), hint)),
        Ok(ResolvedPath::Missing {
            dangling: Some(link), ..
        }) if link == step.path => {
            return Err(unsuitable(
                "is a dangling link: the file that it names does not exist".to_owned(),
                hint,
            ));
        }
        Ok(ResolvedPath::Missing {
            dangling: Some(link), ..
        }) => {
            return Err(unsuitable(format!("is reached by the dangling link `{link}`"), hint));
        }
        Ok(ResolvedPath::Missing {
            anchor,
            names,
            dangling: None,
        }) => {
            let target = names.iter().fold(anchor.clone(), |path, name| join(&path, name));
            (target, anchor, names.len() - 1)
        }
        Ok(ResolvedPath::Found(real)) => (real.clone(), split(&real).0.to_owned(), 0),
    };
    if target == STATE_DIR || target.starts_with(&format!("{STATE_DIR}/")) {
        return Err(unsuitable(
            format!("leads into `{STATE_DIR}`, which is reserved for mirrorshift"),
            hint,
        ));
    }
    let folder = root.folder(&anchor).map_err(NodeError::io("open", anchor.as_str()))?;
    let stat = if missing == 0 {
        stat_path(&folder, split(&target).1, &step.path)?
    } else {
        PathStat::Nothing
    };
    Ok(Location {
        target,
        anchor,
        folder,
        missing,
        stat,
    })
}

/// The space that a change needs, by file system.
#[derive(Default)]
struct RequiredSpace {
    by_device: BTreeMap<u64, DeviceSpace>,
}

struct DeviceSpace {
    shown: String,
    free: u64,
    inodes: Option<u64>,
    /// The size in bytes of the files that will be written there.
    bytes: u64,
}

impl RequiredSpace {
    fn add(&mut self, folder: &OwnedFd, shown: &str, bytes: usize) -> Result<(), NodeError> {
        let io = |action| NodeError::io(action, shown);
        let device = fs::fstat(folder).map_err(io("inspect"))?.st_dev;
        let space = match self.by_device.entry(device) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(slot) => {
                let stat = fs::fstatvfs(folder).map_err(io("read the free space of"))?;
                if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
                    return Err(io("write in")(Errno::ROFS));
                }
                slot.insert(DeviceSpace {
                    shown: shown.to_owned(),
                    free: stat.f_bavail.saturating_mul(stat.f_frsize),
                    // A total of 0 inodes means that the file system does not count them, as on btrfs.
                    inodes: (stat.f_files > 0).then_some(stat.f_favail),
                    bytes: 0,
                })
            }
        };
        space.bytes += bytes as u64;
        Ok(())
    }

    fn check(&self) -> Result<(), NodeError> {
        for DeviceSpace {
            shown,
            free,
            inodes,
            bytes,
        } in self.by_device.values()
        {
            let needed = bytes.saturating_mul(4);
            if *free < needed {
                return Err(NodeError::Space {
                    path: shown.clone(),
                    free: *free,
                    needed,
                });
            }
            if inodes.is_some_and(|inodes| inodes <= 16) {
                return Err(NodeError::Unsuitable {
                    path: shown.clone(),
                    what: "is on a file system with no room for more files (inodes)".to_owned(),
                    hint: "remove some files and run the command again",
                });
            }
        }
        Ok(())
    }
}
