//! The boot guard: two unit files that exist only while a change is unsettled. If the run that made the change is gone,
//! they undo the change at the next boot. The first unit runs before containerd and restores the original files. The
//! second runs after containerd, checks it, and settles or undoes the change.

use crate::error::NodeError;
use crate::files::root::{Root, join, split};
use crate::files::stage::{Attributes, remove, stage};
use crate::journal::record::Change;
use crate::journal::state_dir::make_folder;
use crate::paths::STATE_DIR;
use crate::runtime::deadline::now;
use crate::systemd::bus::Bus;
use crate::systemd::systemctl;
use crate::systemd::transient::{Exec, Property};
use mirrorshift_containerd::Entry;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io::Cursor;
use std::time::Duration;

const UNIT_FOLDER: &str = "/etc/systemd/system";
/// The unit that runs before containerd.
const BEFORE_UNIT: &str = "mirrorshift-guard.service";
/// The unit that runs after containerd.
const AFTER_UNIT: &str = "mirrorshift-look.service";
/// The transient unit that proves that the program can be executed by systemd.
const PROOF_UNIT: &str = "mirrorshift-proof.service";

/// The command lines of the boot guard, each with an absolute path first. Arguments contain only characters that unit
/// files take literally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Restores the original files, before containerd starts.
    pub at_boot: Vec<String>,
    /// Undoes or settles the change, after containerd has started.
    pub after_boot: Vec<String>,
    /// Writes the word that is appended as the last argument into the file [`PROOF`], which shows that the program
    /// runs.
    pub prove: Vec<String>,
}

/// The file that `Commands::prove` writes.
pub const PROOF_FILE: &str = "/run/mirrorshift-proof";

/// The file that exists while a running process supervises the change; it is gone after a reboot. While it exists, the
/// guard units skip themselves. Otherwise they would delay the restart of containerd that the change itself makes.
pub(crate) const SUPERVISED_MARKER: &str = "/run/mirrorshift-armed";

/// Returns the text of the unit that runs before containerd. It depends on nothing that may be missing so early in the
/// boot.
fn before_unit(unit: &str, command: &[String], change: &Change) -> String {
    format!(
        "[Unit]\nDescription=Restore containerd's files after an unsettled change\nDefaultDependencies=no\n\
         RequiresMountsFor={}\nBefore={unit}\nConditionPathExists=!{SUPERVISED_MARKER}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nTimeoutStartSec=10\nExecStart=-{}\n",
        mounts(change).join(" "),
        command.join(" ")
    )
}

/// Returns the folders whose mounts an undo needs: the state folder, the usual configuration folder, and the folder of
/// each file after links were followed.
fn mounts(change: &Change) -> Vec<&str> {
    let mut folders = vec![STATE_DIR, "/etc/containerd"];
    let more = change.steps.iter().map(|step| split(&step.target).0);
    for folder in more {
        let known = folders
            .iter()
            .any(|known| folder.starts_with(&format!("{known}/")) || folder == *known);
        // systemd would interpret other characters. A mount whose path has one is not waited for.
        if !known && folder != "/" && folder.chars().all(is_plain) {
            folders.push(folder);
        }
    }
    folders
}

/// Returns true if unit files take the character literally.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/-_.=".contains(letter)
}

/// Returns the text of the unit that runs after containerd.
fn after_unit(unit: &str, command: &[String]) -> String {
    format!(
        "[Unit]\nDescription=Check containerd after its files were restored at boot\nAfter={unit}\n\
         ConditionPathExists=!{SUPERVISED_MARKER}\nStartLimitIntervalSec=0\n\n\
         [Service]\nType=oneshot\nTimeoutStartSec=180\nExecStart=-{}\n",
        command.join(" ")
    )
}

/// Writes both unit files and their links, and syncs them. They take effect when systemd reads its unit files again.
///
/// Order matters for crash safety: first the two unit files, then the links, then the marker. If the process is killed
/// in between, the unit files show the next run that it must clean up. The link of the second unit, which removes both,
/// is created first and removed last.
pub(crate) fn install(root: &Root, unit: &str, commands: &Commands, change: &Change) -> Result<(), NodeError> {
    let arguments = commands.at_boot.iter().chain(&commands.after_boot);
    if !arguments.flat_map(|argument| argument.chars()).all(is_plain) {
        return Err(NodeError::Message(
            "a command of the boot guard has a character that unit files would interpret",
        ));
    }
    let folder = root.folder(UNIT_FOLDER).map_err(NodeError::io("open", UNIT_FOLDER))?;
    let wants = format!("{unit}.wants");
    let units = [
        (BEFORE_UNIT, before_unit(unit, &commands.at_boot, change)),
        (AFTER_UNIT, after_unit(unit, &commands.after_boot)),
    ];
    for (name, text) in &units {
        let shown = join(UNIT_FOLDER, name);
        remove(&folder, name).map_err(NodeError::io("remove", shown.as_str()))?;
        let mut contents = Cursor::new(text.as_bytes());
        stage(&folder, name, &shown, &mut contents, &Attributes::New { mode: 0o644 })?;
    }
    let io = |action| NodeError::io(action, join(UNIT_FOLDER, &wants));
    make_folder(&folder, &wants, 0o755).map_err(io("create"))?;
    let links = root.folder(&join(UNIT_FOLDER, &wants)).map_err(io("open"))?;
    for (name, _) in units.iter().rev() {
        let name = *name;
        remove(&links, name).map_err(io("remove a link in"))?;
        fs::symlinkat(format!("../{name}"), &links, name).map_err(io("create a link in"))?;
    }
    fs::fsync(&links).map_err(io("sync"))?;
    fs::fsync(&folder).map_err(NodeError::io("sync", UNIT_FOLDER))?;
    mark_supervised(root)
}

/// Runs `Commands::prove` in a transient unit, and checks that it wrote its proof. The proof unit and the guard units
/// execute the same program, started by the same systemd, so a proof shows that the boot guard can run too.
///
/// # Errors
/// systemd cannot start the unit, or the program left no proof.
pub(crate) fn prove(
    root: &Root,
    bus: &Bus,
    commands: &Commands,
    change: &Change,
    within: Duration,
) -> Result<(), NodeError> {
    // The word is unique, so that the file of an earlier proof is not mistaken for this proof.
    let word = format!("{}-{}", change.id, now().as_nanos());
    let Some(path) = commands.prove.first().cloned() else {
        return Err(NodeError::Message(
            "the boot guard has no command that proves that it runs",
        ));
    };
    let mut argv = commands.prove.clone();
    argv.push(word.clone());
    let exec = Exec {
        path,
        argv,
        may_fail: false,
    };
    let properties = [
        Property::Description("Prove that the boot guard of a change can run".to_owned()),
        Property::Type("oneshot"),
        Property::CollectMode("inactive-or-failed"),
        Property::DefaultDependencies(false),
        Property::TimeoutStartSec(Duration::from_secs(10)),
        Property::ExecStart(exec),
    ];
    bus.start_transient(PROOF_UNIT, &properties, within)
        .map_err(|error| NodeError::Systemd(Box::new(error)))?;
    match root.entry(PROOF_FILE) {
        Entry::File(contents) if contents == word.as_bytes() => Ok(()),
        _ => Err(NodeError::Message("the boot guard was started and left no proof")),
    }
}

/// Creates the marker of a supervised change: while it exists, the guard units skip themselves when containerd starts.
pub(crate) fn mark_supervised(root: &Root) -> Result<(), NodeError> {
    let (folder, name) = split(SUPERVISED_MARKER);
    let folder = root.folder(folder).map_err(NodeError::io("open", folder))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(NodeError::io("write", SUPERVISED_MARKER))?;
    Ok(())
}

/// Removes the marker. This is the last step of disarming, after systemd has unloaded both units.
pub(crate) fn unmark_supervised(root: &Root) -> Result<(), NodeError> {
    let (folder, name) = split(SUPERVISED_MARKER);
    match root.folder(folder).and_then(|folder| remove(&folder, name)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(NodeError::io("remove", SUPERVISED_MARKER)(error)),
    }
}

/// Makes systemd unload both units after [`uninstall`]. Otherwise it keeps a unit that failed, or a unit without a
/// file.
pub(crate) fn reload_systemd(within: Duration) {
    let reloaded = Bus::connect(within).and_then(|bus| {
        bus.reload(within)?;
        for name in [BEFORE_UNIT, AFTER_UNIT] {
            // Usually the unit has never failed, which systemd reports as an error.
            bus.reset_failed(name).ok();
        }
        Ok(())
    });
    if reloaded.is_err() {
        // A failure is harmless: such a unit has no command to run.
        systemctl::run(&["daemon-reload"]).ok();
        systemctl::run(&["reset-failed", BEFORE_UNIT, AFTER_UNIT]).ok();
    }
}

/// Returns true if a part of the boot guard is on the node. The next change or undo then removes it first.
pub fn boot_guard_exists(root: &Root) -> bool {
    let exists = |path: &str| {
        let (folder, name) = split(path);
        root.folder(folder)
            .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
            .is_ok()
    };
    exists(&join(UNIT_FOLDER, BEFORE_UNIT)) || exists(&join(UNIT_FOLDER, AFTER_UNIT)) || exists(SUPERVISED_MARKER)
}

/// Removes both units and their links, and syncs. The folder of links is removed too if it is empty.
pub(crate) fn uninstall(root: &Root, unit: &str) -> Result<(), NodeError> {
    let folder = root.folder(UNIT_FOLDER).map_err(NodeError::io("open", UNIT_FOLDER))?;
    let wants = format!("{unit}.wants");
    match root.folder(&join(UNIT_FOLDER, &wants)) {
        Ok(links) => {
            for name in [BEFORE_UNIT, AFTER_UNIT] {
                remove(&links, name).map_err(NodeError::io("remove a link in", join(UNIT_FOLDER, &wants)))?;
            }
            fs::fsync(&links).map_err(NodeError::io("sync", join(UNIT_FOLDER, &wants)))?;
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("open", join(UNIT_FOLDER, &wants))(error)),
    }
    match fs::unlinkat(&folder, wants.as_str(), AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
        Err(error) => return Err(NodeError::io("remove", join(UNIT_FOLDER, &wants))(error)),
    }
    for name in [BEFORE_UNIT, AFTER_UNIT] {
        remove(&folder, name).map_err(NodeError::io("remove", join(UNIT_FOLDER, name)))?;
    }
    fs::fsync(&folder).map_err(NodeError::io("sync", UNIT_FOLDER))
}

/// Removes what is left of the boot guards of finished changes, for `containerd.service` and each of `units`. Returns
/// the paths of the unit files that were found. If there were any, systemd reads its unit files again.
pub(crate) fn remove_guards(root: &Root, units: &[&str]) -> Result<Vec<String>, NodeError> {
    match root.folder(UNIT_FOLDER) {
        Ok(_) => {}
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(NodeError::io("open", UNIT_FOLDER)(error)),
    }
    let found: Vec<String> = [BEFORE_UNIT, AFTER_UNIT]
        .iter()
        .map(|name| join(UNIT_FOLDER, name))
        .filter(|path| {
            let (folder, name) = split(path);
            let folder = root.folder(folder);
            folder
                .and_then(|folder| fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
                .is_ok()
        })
        .collect();
    if found.is_empty() {
        return Ok(found);
    }
    for unit in units.iter().chain(&["containerd.service"]) {
        uninstall(root, unit)?;
    }
    if root.is_live() {
        reload_systemd(Duration::from_secs(10));
    }
    unmark_supervised(root)?;
    Ok(found)
}
