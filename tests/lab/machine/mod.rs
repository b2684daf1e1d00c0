//! Machines: whole systems with a kernel of their own, whose power can be cut.
//!
//! A [`Machine`] is a Debian with systemd and containerd in QEMU: control groups of version 2, `/etc` on an ext4 disk and
//! `/var` on an XFS disk. [`Machine::cut`] kills the emulator, and with it everything that no program had synced: the guest's
//! page cache, and what its disks were given since they were last told to flush. Disks are overlays, thrown away with it.
//!
//! What this does not show: one emulated processor, so no two programs ever run at once, and time that goes by its
//! instructions; a disk here forgets writes, but never tears one nor lies when it was told to flush, and a block that was
//! written since the machine was thawed or made keeps what is written to it again.

mod begun; // a program that goes on by itself
mod disks; // overlays
mod emulator; // the process
mod folder; // its place in the cache, and cleaning up
mod image; // what `prepare` makes
mod monitor; // QEMU's own protocol
mod port; // the way to the agent inside
mod seed; // what a test puts into it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

pub use self::begun::{CutOff, Ended};
use self::emulator::{Emulator, Parts, Start};
use self::folder::Folder;
use self::image::Image;
use super::node::Process;
use super::{Containerd, Files, Missing, Ready};
use crate::tool::Ran;

/// How long a boot may take. It takes 10 to 15 s on an idle machine, and minutes where others use the processors first.
const BOOT: Duration = Duration::from_mins(20);
/// How long a saved state may take to be read or written. It takes a second, on processors that nobody uses first.
const STATE: Duration = Duration::from_mins(10);
/// Longer than the agent gives a script, whose two minutes are of the machine's own time.
const RUN: Duration = Duration::from_mins(20);
/// Between two looks at something that takes seconds.
const STEP: Duration = Duration::from_millis(100);
/// The lab's own program in a machine.
const HELPER: &str = "/lab/lab-run";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// A lab that can boot machines here.
#[derive(Debug)]
pub struct Machines {
    image: Image,
    helper: PathBuf,
}

/// What a machine has before its first boot, beside its containerd.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// Files by absolute path.
    pub files: Files,
    /// Programs of this machine by their absolute path in the other.
    pub programs: BTreeMap<String, PathBuf>,
}

/// A machine that was booted. Dropped, it ends and leaves nothing.
#[derive(Debug)]
pub struct Machine {
    // In the order in which they must end.
    emulator: Option<Emulator>,
    folder: Folder,
    image: Image,
    /// The disk that the test gave the first of its kind, which a saved state counts on.
    seed: PathBuf,
    /// What its disks and memory are copies of.
    of: Option<Arc<Frozen>>,
}

/// A machine that stands still: its disks and its memory. From it, as many can go on as one likes, each for itself.
#[derive(Debug)]
pub struct Frozen {
    folder: Folder,
    image: Image,
    seed: PathBuf,
    /// What its disks are copies of in turn.
    _of: Option<Arc<Frozen>>,
}

impl Machines {
    /// Whether machines can be booted here. `helper` is the program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    /// Removes what earlier tests have left.
    ///
    /// # Errors
    ///
    /// With the reason why none can.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        super::installed(&["qemu-system-x86_64", "qemu-img", "setpriv", "tar"])?;
        let image = Image::open()?;
        folder::clean().map_err(|error| Missing::Machine(error.to_string()))?;
        let helper = helper.into();
        Ok(Self { image, helper })
    }

    /// Boots a new machine, to the point where systemd has nothing left to start.
    ///
    /// # Errors
    ///
    /// When it does not boot; its console is in the message.
    pub fn boot(&self, containerd: &Containerd, options: &MachineOptions) -> io::Result<Machine> {
        let folder = Folder::make()?;
        let mut options = options.clone();
        options.programs.insert(HELPER.into(), self.helper.clone());
        seed::write(&folder.path, containerd, &options)?;
        disks::over(&folder.path, |disk| (self.image.disk(disk), "raw"))?;
        let mut machine = Machine {
            emulator: None,
            seed: folder.path.join(seed::NAME),
            folder,
            image: self.image.clone(),
            of: None,
        };
        machine.start(Start::First)?;
        machine.booted()?;
        Ok(machine)
    }
}

impl Machine {
    /// Runs a program in it as root, for at most two minutes.
    ///
    /// # Errors
    ///
    /// When the machine does not answer. How the program ended is in the answer; 124 is for one that took too long.
    pub fn run(&mut self, command: &[&str]) -> io::Result<Ran> {
        self.answer(&port::script(command))
            .map_err(|error| self.with_console("the machine does not answer", &error))
    }

    fn answer(&mut self, script: &str) -> io::Result<Ran> {
        let port = &mut self.emulator.as_mut().ok_or_else(down)?.port;
        let number = port.ask(script)?;
        port.answer(number, Instant::now() + RUN)
    }

    /// A file of it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds more than text.
    pub fn read(&mut self, path: &str) -> io::Result<String> {
        Ok(self.run(&["cat", path])?.ok()?.stdout)
    }

    /// What CRI says of itself; nothing while it does not answer.
    ///
    /// # Errors
    ///
    /// When the machine does not answer.
    pub fn cri(&mut self) -> io::Result<Option<Ready>> {
        let ran = self.run(&[HELPER, "cri", SOCKET])?;
        Ok(serde_json::from_str(&ran.stdout).ok())
    }

    /// Waits until CRI calls its runtime ready.
    ///
    /// # Errors
    ///
    /// When it does not within that time.
    pub fn wait_cri(&mut self, within: Duration) -> io::Result<()> {
        self.until("CRI is not ready", within, |machine| {
            Ok(machine.cri()?.is_some_and(|ready| ready.runtime).then_some(()))
        })
    }

    /// Starts a sandbox, and in it a container that waits to be ended.
    ///
    /// # Errors
    ///
    /// containerd's.
    pub fn start_workload(&mut self, name: &str) -> io::Result<()> {
        self.run(&["ctr", "-n", "k8s.io", "images", "import", "/lab/tools.tar"])?
            .ok()?;
        self.run(&[HELPER, "workload", SOCKET, name])?.ok().map(drop)
    }

    /// The main process of every sandbox and container that runs, by id.
    ///
    /// # Errors
    ///
    /// When CRI does not answer.
    pub fn pids(&mut self) -> io::Result<BTreeMap<String, Process>> {
        let ran = self.run(&[HELPER, "pids", SOCKET])?.ok()?;
        Ok(serde_json::from_str(&ran.stdout)?)
    }

    /// Looks until there is something to see.
    ///
    /// # Errors
    ///
    /// The first of `look`, or when the time is over.
    pub fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&mut Self) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(seen) = look(self)? {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                return Err(late(&format!("{what} within {} s", within.as_secs())));
            }
            sleep(STEP);
        }
    }

    /// Cuts its power.
    ///
    /// # Errors
    ///
    /// When the emulator does not end.
    pub fn cut(&mut self) -> io::Result<()> {
        self.emulator.take().ok_or_else(down)?.kill()
    }

    /// Boots a machine whose power was cut, from its disks alone.
    ///
    /// # Errors
    ///
    /// When it does not boot; its console is in the message.
    pub fn boot_again(&mut self) -> io::Result<()> {
        self.start(Start::Again(None))?;
        self.booted()
    }

    /// The same with a clock that has this time, such as `2001-02-03T04:05:06`.
    ///
    /// # Errors
    ///
    /// As of [`Machine::boot_again`].
    pub fn boot_again_at(&mut self, time: &str) -> io::Result<()> {
        self.start(Start::Again(Some(time.to_owned())))?;
        self.booted()
    }

    /// Syncs everything and stops its time.
    ///
    /// # Errors
    ///
    /// When its state cannot be written.
    pub fn freeze(mut self) -> io::Result<Arc<Frozen>> {
        self.run(&["sync"])?.ok()?;
        self.freeze_midway()
    }

    /// Stops its time in the middle of what it does. What its disks were given until then is never lost again, flushed or
    /// not; what is in its memory alone is, when the power of one that goes on from here is cut.
    ///
    /// # Errors
    ///
    /// When its state cannot be written.
    pub fn freeze_midway(mut self) -> io::Result<Arc<Frozen>> {
        let mut emulator = self.emulator.take().ok_or_else(down)?;
        emulator
            .save(&self.folder.path.join("state"), STATE)
            .map_err(|error| self.with_console("its state is not kept", &error))?;
        Ok(Arc::new(Frozen {
            folder: self.folder,
            image: self.image,
            seed: self.seed,
            _of: self.of,
        }))
    }

    /// What it wrote to its console in all of its boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.console_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The number of its process here, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.emulator.as_ref().map(Emulator::pid)
    }

    /// Its folder in the cache.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    fn console_file(&self) -> PathBuf {
        self.folder.path.join("console")
    }

    fn start(&mut self, start: Start) -> io::Result<()> {
        let parts = Parts {
            image: &self.image,
            folder: &self.folder.path,
            seed: &self.seed,
        };
        self.emulator = Some(Emulator::start(&parts, start)?);
        Ok(())
    }

    fn booted(&mut self) -> io::Result<()> {
        self.wait_for_systemd()
            .map_err(|error| self.with_console("the machine does not boot", &error))
    }

    fn goes_on(&mut self) -> io::Result<()> {
        self.emulator.as_mut().ok_or_else(down)?.go_on(STATE)?;
        self.run(&["true"])?.ok().map(drop)
    }

    fn with_console(&self, what: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{what}: {error}\n{}", self.console()))
    }

    fn wait_for_systemd(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + BOOT;
        let port = &mut self.emulator.as_mut().ok_or_else(down)?.port;
        // What is asked before the agent is there waits for it.
        let number = port.ask("timeout 110 systemctl is-system-running --wait")?;
        let state = port.answer(number, deadline)?.stdout;
        // Degraded is a failed unit, which may be what the test is about.
        if ["running", "degraded"].contains(&state.trim()) {
            return Ok(());
        }
        Err(io::Error::other(format!("systemd says `{}`", state.trim())))
    }
}

impl Frozen {
    /// A machine that goes on from here.
    ///
    /// # Errors
    ///
    /// When it does not answer; its console is in the message.
    pub fn thaw(self: &Arc<Self>) -> io::Result<Machine> {
        let folder = Folder::make()?;
        disks::over(&folder.path, |disk| (self.folder.path.join(disks::file(disk)), "qcow2"))?;
        let mut machine = Machine {
            emulator: None,
            folder,
            image: self.image.clone(),
            seed: self.seed.clone(),
            of: Some(Arc::clone(self)),
        };
        machine.start(Start::From(self.folder.path.join("state")))?;
        machine
            .goes_on()
            .map_err(|error| machine.with_console("the machine does not go on", &error))?;
        Ok(machine)
    }
}

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the machine is down")
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what.to_owned())
}
