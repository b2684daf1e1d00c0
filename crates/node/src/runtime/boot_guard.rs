//! What undoes a change at the next boot when the run that made it is gone: two unit files that exist only while a change is
//! unsettled. One runs before containerd and puts the old bytes back; the other runs after it and looks on.

use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::files::stage::{Attributes, remove, stage};
use crate::journal::record::Change;
use crate::journal::state_dir::make_folder;
use crate::paths::STATE_DIR;
use crate::systemd::bus::Bus;
use crate::systemd::systemctl;
use rustix::fs::{
    AtFlags, Mode, OFlags, {self},
};
use rustix::io::Errno;
use std::io::Cursor;
use std::time::Duration;

const FOLDER: &str = "/etc/systemd/system";
const GUARD: &str = "mirrorshift-guard.service";
const LOOK: &str = "mirrorshift-look.service";

/// The commands of the two units, the program first: absolute paths and words without white space, quotes, `%` and `$`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Puts the old bytes back, before containerd starts.
    pub at_boot: Vec<String>,
    /// Undoes or closes the change, after containerd has started.
    pub after_boot: Vec<String>,
    /// Writes a word that is added to it where [`PROOF`] says, to show that the program runs.
    pub prove: Vec<String>,
}

/// Where the proof is left.
pub const PROOF: &str = "/run/mirrorshift-proof";

/// There while a change is unsettled, and gone after a reboot. A change starts containerd itself, and the guard would only
/// hold that start up.
pub(crate) const ARMED: &str = "/run/mirrorshift-armed";

/// The text of the unit that runs before containerd. It depends on nothing that may be absent so early.
fn guard(unit: &str, command: &[String], change: &Change) -> String {
    format!(
        "[Unit]\nDescription=Undo an unsettled change of containerd's files\nDefaultDependencies=no\n\
         RequiresMountsFor={}\nBefore={unit}\nConditionPathExists=!{ARMED}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nTimeoutStartSec=10\nExecStart=-{}\n",
        mounts(change).join(" "),
        command.join(" ")
    )
}

/// What must be mounted for an undo: the journal, the usual folder, and that of each file, wherever its links led.
fn mounts(change: &Change) -> Vec<&str> {
    let mut folders = vec![STATE_DIR, "/etc/containerd"];
    let more = change.steps.iter().map(|step| split(&step.target).0);
    for folder in more {
        let known = folders
            .iter()
            .any(|known| folder.starts_with(&format!("{known}/")) || folder == *known);
        // systemd would read other letters as something else; a mount of such a name is not waited for.
        if !known && folder != "/" && folder.chars().all(is_plain) {
            folders.push(folder);
        }
    }
    folders
}

/// Whether unit files take a letter as it is.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/-_.=".contains(letter)
}

fn look(unit: &str, command: &[String]) -> String {
    format!(
        "[Unit]\nDescription=Look on an undone change of containerd's files\nAfter={unit}\n\
         ConditionPathExists=!{ARMED}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nTimeoutStartSec=180\nExecStart=-{}\n",
        command.join(" ")
    )
}

/// Puts both in place, synced. systemd must read its files again before they count. The two files come first and the mark
/// goes last: by them whoever comes after a kill sees that there is something to take away. The link to the one that takes both
/// away comes first and goes last.
pub(crate) fn install(root: &Root, unit: &str, commands: &Commands, change: &Change) -> Result<(), NodeError> {
    let words = commands.at_boot.iter().chain(&commands.after_boot);
    if !words.flat_map(|word| word.chars()).all(is_plain) {
        return Err(NodeError::Message(
            "a command of the guard has a character that unit files treat",
        ));
    }
    let folder = root.folder(FOLDER).map_err(NodeError::io("open", FOLDER))?;
    let wants = format!("{unit}.wants");
    let units = [
        (GUARD, guard(unit, &commands.at_boot, change)),
        (LOOK, look(unit, &commands.after_boot)),
    ];
    for (name, text) in &units {
        let shown = join(FOLDER, name);
        remove(&folder, name).map_err(NodeError::io("clear", shown.as_str()))?;
        let mut content = Cursor::new(text.as_bytes());
        stage(&folder, name, &shown, &mut content, &Attributes::New { mode: 0o644 })?;
    }
    let io = |action| NodeError::io(action, join(FOLDER, &wants));
    make_folder(&folder, &wants, 0o755).map_err(io("make"))?;
    let wanted = root.folder(&join(FOLDER, &wants)).map_err(io("open"))?;
    for (name, _) in units.iter().rev() {
        let name = *name;
        remove(&wanted, name).map_err(io("clear"))?;
        fs::symlinkat(format!("../{name}"), &wanted, name).map_err(io("link from"))?;
    }
    fs::fsync(&wanted).map_err(io("sync"))?;
    fs::fsync(&folder).map_err(NodeError::io("sync", FOLDER))?;
    mark_supervised(root)
}

/// Says that somebody watches over the change in this boot: the guard has nothing to do when containerd is started.
pub(crate) fn mark_supervised(root: &Root) -> Result<(), NodeError> {
    let (folder, name) = split(ARMED);
    let folder = root.folder(folder).map_err(NodeError::io("open", folder))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(NodeError::io("write", ARMED))?;
    Ok(())
}

/// Takes that back: the last thing, once systemd has forgotten both.
pub(crate) fn unmark_supervised(root: &Root) -> Result<(), NodeError> {
    let (folder, name) = split(ARMED);
    match root.folder(folder).and_then(|folder| remove(&folder, name)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(NodeError::io("take away", ARMED)(error)),
    }
}

/// Has systemd forget both, after [`take_away`]: it keeps a unit in mind that failed or whose file is gone.
pub(crate) fn reload_systemd(within: Duration) {
    let forgotten = Bus::connect(within).and_then(|bus| {
        bus.reload(within)?;
        for name in [GUARD, LOOK] {
            // Most have never failed, which systemd calls an error.
            bus.reset_failed(name).ok();
        }
        Ok(())
    });
    if forgotten.is_err() {
        // Nothing depends on it: such a unit has no program.
        systemctl::run(&["daemon-reload"]).ok();
        systemctl::run(&["reset-failed", GUARD, LOOK]).ok();
    }
}

/// Whether anything of the guard is left on the node, so that the next change or undo takes it away first.
pub fn guard_is_left(root: &Root) -> bool {
    let there = |path: &str| {
        let (folder, name) = split(path);
        root.folder(folder)
            .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
            .is_ok()
    };
    there(&join(FOLDER, GUARD)) || there(&join(FOLDER, LOOK)) || there(ARMED)
}

/// Takes both away, synced; the folder of links too, when nobody else has one in it.
pub(crate) fn uninstall(root: &Root, unit: &str) -> Result<(), NodeError> {
    let folder = root.folder(FOLDER).map_err(NodeError::io("open", FOLDER))?;
    let wants = format!("{unit}.wants");
    match root.folder(&join(FOLDER, &wants)) {
        Ok(wanted) => {
            for name in [GUARD, LOOK] {
                remove(&wanted, name).map_err(NodeError::io("clear", join(FOLDER, &wants)))?;
            }
            fs::fsync(&wanted).map_err(NodeError::io("sync", join(FOLDER, &wants)))?;
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("open", join(FOLDER, &wants))(error)),
    }
    match fs::unlinkat(&folder, wants.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("take away", join(FOLDER, &wants))(error)),
    }
    for name in [GUARD, LOOK] {
        remove(&folder, name).map_err(NodeError::io("take away", join(FOLDER, name)))?;
    }
    fs::fsync(&folder).map_err(NodeError::io("sync", FOLDER))
}

/// Takes away what a guard may have left behind a change that is over, below every unit that it may have been for; what was
/// there. systemd reads its files again where there was something.
pub(crate) fn take_away_guards(root: &Root, units: &[&str]) -> Result<Vec<String>, NodeError> {
    match root.folder(FOLDER) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(NodeError::io("open", FOLDER)(error)),
    }
    let there: Vec<String> = [GUARD, LOOK]
        .iter()
        .map(|name| join(FOLDER, name))
        .filter(|path| {
            let (folder, name) = split(path);
            let folder = root.folder(folder);
            folder
                .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
                .is_ok()
        })
        .collect();
    if there.is_empty() {
        return Ok(there);
    }
    for unit in units.iter().chain(&["containerd.service"]) {
        uninstall(root, unit)?;
    }
    if root.is_live() {
        reload_systemd(Duration::from_secs(10));
    }
    unmark_supervised(root)?;
    Ok(there)
}
