//! Virtual machines: systems with their own kernel, whose power can be cut.
//!
//! A [`VirtualMachine`] is a Debian with systemd and containerd in QEMU: control groups of version 2, `/etc` on an ext4 disk
//! and `/var` on an XFS disk. [`VirtualMachine::cut`] kills the emulator, and with it everything that no program had synced:
//! the guest's page cache, and what was written to its disks since the last flush. Its disks are overlays, which are
//! removed with it.
//!
//! Limits: there is one emulated processor, so two programs never run at the same time, and the clock follows its
//! instructions. A disk forgets writes but never tears one, and never claims a flush that did not happen. A block
//! that was written since the machine was thawed or created keeps later writes even without a flush.

mod begun; // programs in the background
mod disks; // overlays
mod emulator; // the QEMU process
mod folder; // folders in the cache, and their removal
mod image; // files that `prepare` builds
mod monitor; // QEMU's monitor protocol
mod port; // the connection to the agent in the machine
mod seed; // the test's files for a machine

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

pub use self::begun::{CutOff, Ended};
use self::emulator::{Emulator, Parts, Start};
use self::folder::MachineFolder;
use self::image::MachineImage;
use super::node::ContainerProcess;
use super::{Containerd, Files, Missing, Ready};
use crate::tool::Ran;

/// Time limit for a boot. It takes 10 to 15 s on an idle machine, and minutes on a busy one.
const BOOT: Duration = Duration::from_mins(20);
/// Time limit to read or write a saved state. It takes a second on an idle machine.
const STATE: Duration = Duration::from_mins(10);
/// Longer than the agent's limit for a script, which is two minutes of the machine's clock.
const RUN: Duration = Duration::from_mins(20);
/// The pause between two checks of something that takes seconds.
const STEP: Duration = Duration::from_millis(100);
/// The lab's own program in a machine.
const HELPER: &str = "/lab/lab-run";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// The ability to boot virtual machines on this machine.
#[derive(Debug)]
pub struct VirtualMachines {
    image: MachineImage,
    helper: PathBuf,
}

/// The files of a machine before its first boot, in addition to its containerd.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// Files by absolute path.
    pub files: Files,
    /// Programs of the test's machine by their path in the virtual machine.
    pub programs: BTreeMap<String, PathBuf>,
}

/// A virtual machine. When it is dropped, it ends and its files are removed.
#[derive(Debug)]
pub struct VirtualMachine {
    // In the order in which they must end.
    emulator: Option<Emulator>,
    folder: MachineFolder,
    image: MachineImage,
    /// The disk that the test gave the first machine; a saved state needs it.
    seed: PathBuf,
    /// The saved state that its disks and memory are copies of.
    of: Option<Arc<Frozen>>,
}

/// A stopped machine: its disks and its memory. Any number of machines can continue from it independently.
#[derive(Debug)]
pub struct Frozen {
    folder: MachineFolder,
    image: MachineImage,
    seed: PathBuf,
    /// The saved state that its disks are copies of.
    _of: Option<Arc<Frozen>>,
}

impl VirtualMachines {
    /// Checks that machines can be booted here, and removes those that earlier tests left behind. `helper` is the
    /// program `lab-run`: `env!("CARGO_BIN_EXE_lab-run")` in a test.
    pub fn open(helper: impl Into<PathBuf>) -> Result<Self, Missing> {
        super::installed(&["qemu-system-x86_64", "qemu-img", "setpriv", "tar"])?;
        let image = MachineImage::open()?;
        folder::clean().map_err(|error| Missing::Machine(error.to_string()))?;
        let helper = helper.into();
        Ok(Self { image, helper })
    }

    /// Boots a new machine, and returns when systemd has finished starting units. An error contains the console.
    pub fn boot(&self, containerd: &Containerd, options: &MachineOptions) -> io::Result<VirtualMachine> {
        let folder = MachineFolder::make()?;
        let mut options = options.clone();
        options.programs.insert(HELPER.into(), self.helper.clone());
        seed::write(&folder.path, containerd, &options)?;
        disks::over(&folder.path, |disk| (self.image.disk(disk), "raw"))?;
        let mut machine = VirtualMachine {
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

impl VirtualMachine {
    /// Runs a program in the machine as root, for at most two minutes. The exit code is 124 after a timeout.
    pub fn run(&mut self, command: &[&str]) -> io::Result<Ran> {
        self.answer(&port::script(command))
            .map_err(|error| self.with_console("the machine does not answer", &error))
    }

    fn answer(&mut self, script: &str) -> io::Result<Ran> {
        let port = &mut self.emulator.as_mut().ok_or_else(down)?.port;
        let number = port.ask(script)?;
        port.answer(number, Instant::now() + RUN)
    }

    /// Returns the text of a file in the machine.
    pub fn read(&mut self, path: &str) -> io::Result<String> {
        Ok(self.run(&["cat", path])?.ok()?.stdout)
    }

    /// Returns CRI's status; `None` while it does not answer.
    pub fn cri(&mut self) -> io::Result<Option<Ready>> {
        let ran = self.run(&[HELPER, "cri", SOCKET])?;
        Ok(serde_json::from_str(&ran.stdout).ok())
    }

    /// Waits until CRI reports that its runtime is ready.
    pub fn wait_cri(&mut self, within: Duration) -> io::Result<()> {
        self.until("CRI is not ready", within, |machine| {
            Ok(machine.cri()?.is_some_and(|ready| ready.runtime).then_some(()))
        })
    }

    /// Starts a sandbox, and in it a container that waits until it is stopped.
    pub fn start_workload(&mut self, name: &str) -> io::Result<()> {
        self.run(&["ctr", "-n", "k8s.io", "images", "import", "/lab/tools.tar"])?
            .ok()?;
        self.run(&[HELPER, "workload", SOCKET, name])?.ok().map(drop)
    }

    /// The main process of every running sandbox and container, by id.
    pub fn pids(&mut self) -> io::Result<BTreeMap<String, ContainerProcess>> {
        let ran = self.run(&[HELPER, "pids", SOCKET])?.ok()?;
        Ok(serde_json::from_str(&ran.stdout)?)
    }

    /// Repeats `look` until it returns a value, an error, or the time is over.
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

    pub fn cut(&mut self) -> io::Result<()> {
        self.emulator.take().ok_or_else(down)?.kill()
    }

    /// Boots a machine whose power was cut, from its own disks only.
    pub fn boot_again(&mut self) -> io::Result<()> {
        self.start(Start::Again(None))?;
        self.booted()
    }

    /// Like [`VirtualMachine::boot_again`], with this time on its clock, such as `2001-02-03T04:05:06`.
    pub fn boot_again_at(&mut self, time: &str) -> io::Result<()> {
        self.start(Start::Again(Some(time.to_owned())))?;
        self.booted()
    }

    /// Syncs all disks and stops the machine.
    pub fn freeze(mut self) -> io::Result<Arc<Frozen>> {
        self.run(&["sync"])?.ok()?;
        self.freeze_midway()
    }

    /// Stops the machine without a sync. Machines that continue from here never lose what was written to the disks
    /// until now, flushed or not. What is only in memory is lost when their power is cut.
    pub fn freeze_midway(mut self) -> io::Result<Arc<Frozen>> {
        let mut emulator = self.emulator.take().ok_or_else(down)?;
        emulator
            .save(&self.folder.path.join("state"), STATE)
            .map_err(|error| self.with_console("its state cannot be saved", &error))?;
        Ok(Arc::new(Frozen {
            folder: self.folder,
            image: self.image,
            seed: self.seed,
            _of: self.of,
        }))
    }

    /// The console output of all of its boots.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.console_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The id of the QEMU process while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.emulator.as_ref().map(Emulator::pid)
    }

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
        // The agent answers as soon as it runs, so the request may be sent before that.
        let number = port.ask("timeout 110 systemctl is-system-running --wait")?;
        let state = port.answer(number, deadline)?.stdout;
        // `degraded` means that a unit failed, which may be what the test is about.
        if ["running", "degraded"].contains(&state.trim()) {
            return Ok(());
        }
        Err(io::Error::other(format!("systemd reports `{}`", state.trim())))
    }
}

impl Frozen {
    /// Starts a machine that continues from here. An error contains its console.
    pub fn thaw(self: &Arc<Self>) -> io::Result<VirtualMachine> {
        let folder = MachineFolder::make()?;
        disks::over(&folder.path, |disk| (self.folder.path.join(disks::file(disk)), "qcow2"))?;
        let mut machine = VirtualMachine {
            emulator: None,
            folder,
            image: self.image.clone(),
            seed: self.seed.clone(),
            of: Some(Arc::clone(self)),
        };
        machine.start(Start::From(self.folder.path.join("state")))?;
        machine
            .goes_on()
            .map_err(|error| machine.with_console("the machine does not continue", &error))?;
        Ok(machine)
    }
}

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the machine is down")
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what.to_owned())
}
