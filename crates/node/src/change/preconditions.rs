//! Looks at a plan's files before anything is touched.

use crate::change::session::ChangePlan;
use crate::error::NodeError;
use crate::files::entry::FILE_LIMIT;
use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, join, split};
use crate::files::snapshot::{PathStat, stat_path};
use crate::journal::file::{Change, Journal, StepRecord};
use crate::journal::state_dir::{STATE_DIR, StateDir};
use mirrorshift_plan::change::{Phase, StepProgress};
use mirrorshift_plan::{Digest, Expect, Step};
use rustix::fd::OwnedFd;
use rustix::fs::{
    StatVfsMountFlags, {self},
};
use rustix::io::Errno;
use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};

/// Held back while a change is open, beside what its journal needs: bytes.
pub(crate) const RESERVED: u64 = 64 << 10;

/// A plan that may be armed, unless something is foreign.
pub(crate) struct CheckedPlan {
    pub(crate) change: Change,
    /// The new bytes of each step.
    pub(crate) new: Vec<Option<Vec<u8>>>,
    /// The old bytes of each step.
    pub(crate) old: Vec<Option<Vec<u8>>>,
    /// What was found where a step did not find what it expects.
    pub(crate) foreign: Vec<Option<String>>,
}

/// Looks at every file of `plan`. Steps that would change nothing are left out.
///
/// # Errors
/// The first step that cannot be done at all, and why; nothing was written.
pub(crate) fn survey(
    root: &Root,
    state: &StateDir,
    journal: &Journal,
    plan: &ChangePlan,
    id: &str,
    now: u64,
) -> Result<CheckedPlan, NodeError> {
    let mut found = CheckedPlan {
        change: begun(plan, id, now),
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
        let at = found.change.steps.len();
        let place = place(root, step)?;
        let unsuitable = |what: String, hint| NodeError::Unsuitable {
            path: step.path.clone(),
            what,
            hint,
        };
        if !targets.insert(place.target.clone()) {
            let what = format!("is the same file as another of this plan (`{}`)", place.target);
            return Err(unsuitable(what, "let one name be a file of its own, or leave one out"));
        }
        if step
            .content
            .as_ref()
            .is_some_and(|bytes| bytes.len() as u64 > FILE_LIMIT)
        {
            return Err(unsuitable(
                format!("would be larger than {FILE_LIMIT} bytes"),
                "split it by `imports`",
            ));
        }
        let (folder, name) = split(&place.target);
        let (before, old, foreign) = match (&place.seen, step.expect) {
            (PathStat::Other(what), _) => {
                return Err(unsuitable(what.clone(), "make it a plain file, or take it away"));
            }
            (PathStat::Nothing, Expect::Absent) => (None, None, None),
            (PathStat::Nothing, Expect::File(_)) => (None, None, Some("it is gone")),
            (PathStat::File(now), expect) => {
                now.replaceable(&step.path, root.is_live())?;
                let foreign = match expect {
                    Expect::Absent => Some("something stands there"),
                    Expect::File(digest) if digest != now.record.digest => {
                        Some("it holds other bytes than were planned for")
                    }
                    Expect::File(_) => None,
                };
                (Some(now.record.clone()), Some(now.bytes.clone()), foreign)
            }
        };
        let owned = journal.owned.get(&step.path).copied();
        if after.is_none() && !owned.is_some_and(|owned| owned.made && step.expect == Expect::File(owned.digest)) {
            return Err(unsuitable(
                "was not made by this tool, so it is not taken away".to_owned(),
                "take it away by hand when nothing needs it",
            ));
        }
        let beside_folder = if place.missing == 0 {
            folder
        } else {
            place.anchor.as_str()
        };
        let beside = join(beside_folder, &format!(".{name}.{id}-{at}.new"));
        space.want(&place.folder, beside_folder, step.content.as_ref().map_or(0, Vec::len))?;
        space.want(&state.fd, STATE_DIR, old.as_ref().map_or(0, Vec::len))?;
        found.change.steps.push(StepRecord {
            path: step.path.clone(),
            target: place.target,
            beside,
            why: step.why.clone(),
            before,
            after,
            restores: None,
            owned,
            mark: StepProgress::Waiting,
        });
        found.new.push(step.content.clone());
        found.old.push(old);
        found.foreign.push(foreign.map(str::to_owned));
    }
    space.check()?;
    Ok(found)
}

/// The change of `plan` before anything of it was done.
fn begun(plan: &ChangePlan, id: &str, now: u64) -> Change {
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

struct Place {
    target: String,
    /// The nearest folder that is there, and how many are missing between it and the file.
    anchor: String,
    folder: OwnedFd,
    missing: usize,
    seen: PathStat,
}

fn place(root: &Root, step: &Step) -> Result<Place, NodeError> {
    let unsuitable = |what: String, hint| NodeError::Unsuitable {
        path: step.path.clone(),
        what,
        hint,
    };
    let lost = "let it be a plain file, or a link to one below the root";
    let clean = step.path.starts_with('/')
        && step
            .path
            .split('/')
            .skip(1)
            .all(|name| !matches!(name, "" | "." | ".."));
    if !clean {
        return Err(unsuitable(
            "is not a clean absolute path".to_owned(),
            "this is a mistake in the plan",
        ));
    }
    let (target, anchor, missing) = match resolve(root, &step.path) {
        Err(why) => return Err(unsuitable(why.fragment(&step.path), lost)),
        Ok(ResolvedPath::Missing {
            dangling: Some(link), ..
        }) if link == step.path => {
            return Err(unsuitable(
                "is a dangling link: what it names does not exist".to_owned(),
                lost,
            ));
        }
        Ok(ResolvedPath::Missing {
            dangling: Some(link), ..
        }) => {
            return Err(unsuitable(format!("is reached by the dangling link `{link}`"), lost));
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
            format!("leads into `{STATE_DIR}`, which is the tool's own"),
            lost,
        ));
    }
    let folder = root.folder(&anchor).map_err(NodeError::io("open", anchor.as_str()))?;
    let seen = if missing == 0 {
        stat_path(&folder, split(&target).1, &step.path)?
    } else {
        PathStat::Nothing
    };
    Ok(Place {
        target,
        anchor,
        folder,
        missing,
        seen,
    })
}

/// Bytes that will be written, by file system.
#[derive(Default)]
struct RequiredSpace {
    wanted: BTreeMap<u64, Wanted>,
}

struct Wanted {
    shown: String,
    free: u64,
    inodes: Option<u64>,
    bytes: u64,
}

impl RequiredSpace {
    fn want(&mut self, folder: &OwnedFd, shown: &str, bytes: usize) -> Result<(), NodeError> {
        let io = |action| NodeError::io(action, shown);
        let device = fs::fstat(folder).map_err(io("look at"))?.st_dev;
        let wanted = match self.wanted.entry(device) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(slot) => {
                let stat = fs::fstatvfs(folder).map_err(io("ask the free space of"))?;
                if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
                    return Err(io("write in")(Errno::ROFS));
                }
                slot.insert(Wanted {
                    shown: shown.to_owned(),
                    free: stat.f_bavail.saturating_mul(stat.f_frsize),
                    // 0 inodes in all means that the file system does not count them, as on btrfs.
                    inodes: (stat.f_files > 0).then_some(stat.f_favail),
                    bytes: 0,
                })
            }
        };
        wanted.bytes += bytes as u64;
        Ok(())
    }

    fn check(&self) -> Result<(), NodeError> {
        for Wanted {
            shown,
            free,
            inodes,
            bytes,
        } in self.wanted.values()
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
                    hint: "take some files away and run the command again",
                });
            }
        }
        Ok(())
    }
}
