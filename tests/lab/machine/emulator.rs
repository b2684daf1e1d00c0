//! The QEMU process of a machine.

use std::fs::{
    File, {self},
};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::disks::{DISKS, drive};
use super::image::MachineImage;
use super::late;
use super::monitor::Monitor;
use super::port::Port;

/// The pause between two checks.
const STEP: Duration = Duration::from_millis(10);
/// Time limit for QEMU to listen or to end. It takes 0.1 s on an idle machine.
const SOON: Duration = Duration::from_mins(5);

/// The kernel's command line. Self-tests, mitigations and ACPI are off because they cost time of an emulated
/// processor.
const WORDS: &str =
    "console=ttyS0 quiet panic=-1 acpi=off pci=nomsi cryptomgr.notests mitigations=off systemd.show_status=no";
/// The machine's clock advances with the instructions of its processor, 4 ns per instruction, and with real time
/// while the processor is idle. So a deadline in it is as long as on a somewhat slow processor, whatever the load of
/// the test's machine.
const TIME: &str = "shift=2";

/// The way in which a machine starts.
pub(super) enum Start {
    /// Boots with a disk that has the test's files.
    First,
    /// Boots from its own disks only, with the current time or another time.
    Again(Option<String>),
    /// Continues from a saved state.
    From(PathBuf),
}

/// The parts of a machine.
pub(super) struct Parts<'a> {
    pub(super) image: &'a MachineImage,
    pub(super) folder: &'a Path,
    pub(super) seed: &'a Path,
}

/// A running machine. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Emulator {
    child: Child,
    monitor: Monitor,
    /// The connection to the agent in the machine.
    pub(super) port: Port,
}

impl Emulator {
    /// Starts the machine, and returns before it has booted.
    pub(super) fn start(parts: &Parts<'_>, start: Start) -> io::Result<Self> {
        let at = |name: &str| parts.folder.join(name);
        for socket in ["monitor", "port"] {
            drop(fs::remove_file(at(socket)));
        }
        let console = File::options().create(true).append(true).open(at("console"))?;
        // `setpriv` ends QEMU with the thread that started it. KVM is not used, because on a machine that is itself a
        // guest it is often present but hangs.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args([
            "-machine", "pc", "-accel", "tcg", "-cpu", "qemu64", "-icount", TIME, "-m", "512",
        ]);
        command.arg("-kernel").arg(parts.image.kernel());
        command.arg("-initrd").arg(parts.image.initramfs());
        command.args(["-append", WORDS, "-serial", "stdio"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", at("monitor").display())]);
        let socket = at("port");
        command.args([
            "-chardev",
            &format!("socket,id=lab,path={},server=on,wait=off", socket.display()),
        ]);
        command.args([
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=lab,name=lab",
        ]);
        command.args(["-object", "rng-random,id=rng,filename=/dev/urandom"]);
        command.args(["-device", "virtio-rng-pci,rng=rng"]);
        for disk in DISKS {
            let name = super::disks::file(disk);
            command.args(["-drive", &drive(parts.folder, disk)]);
            command.args(["-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        if let Start::Again(Some(time)) = &start {
            command.args(["-rtc", &format!("base={time}")]);
        }
        if !matches!(start, Start::Again(_)) {
            let seed = parts.seed.display();
            command.args(["-drive", &format!("file={seed},format=raw,if=none,id=seed,readonly=on")]);
            command.args(["-device", "virtio-blk-pci,drive=seed"]);
        }
        if let Start::From(state) = start {
            command.args(["-incoming", &format!("exec:cat '{}'", state.display())]);
        }
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        let mut child = command.spawn()?;
        let connected = connect(&mut child, &at("monitor")).and_then(|monitor| {
            let monitor = Monitor::open(monitor)?;
            Ok((monitor, Port::new(connect(&mut child, &at("port"))?)))
        });
        match connected {
            Ok((monitor, port)) => Ok(Self { child, monitor, port }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                let said = fs::read_to_string(at("console")).unwrap_or_default();
                Err(io::Error::new(error.kind(), format!("QEMU: {error}: {}", said.trim())))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, which has the effect of a power cut.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    /// Stops the machine, writes its memory to a file and ends it. Its disks are complete then.
    pub(super) fn save(&mut self, state: &Path, within: Duration) -> io::Result<()> {
        self.monitor.ask("stop", &json!({}))?;
        // The bandwidth limit is removed, because it is for migrations over networks.
        self.monitor
            .ask("migrate-set-parameters", &json!({"max-bandwidth": 1_u64 << 33}))?;
        let uri = format!("exec:cat > '{}'", state.display());
        self.monitor.ask("migrate", &json!({"uri": uri}))?;
        self.until(
            "its state is not written",
            within,
            "query-migrate",
            |answer| match answer["status"].as_str() {
                Some("completed") => Ok(true),
                Some("failed" | "cancelled") => Err(io::Error::other(format!("its state is not written: {answer}"))),
                _ => Ok(false),
            },
        )?;
        self.monitor.ask("quit", &json!({}))?;
        let deadline = Instant::now() + SOON;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(late("QEMU does not end"));
            }
            sleep(STEP);
        }
        Ok(())
    }

    /// Continues a machine whose state is being read.
    pub(super) fn go_on(&mut self, within: Duration) -> io::Result<()> {
        self.until("its state is not read", within, "query-status", |answer| {
            Ok(answer["status"] != "inmigrate")
        })?;
        self.monitor.ask("cont", &json!({})).map(drop)
    }

    fn until(
        &mut self,
        what: &str,
        within: Duration,
        question: &str,
        done: impl Fn(&Value) -> io::Result<bool>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + within;
        while !done(&self.monitor.ask(question, &json!({}))?)? {
            if Instant::now() > deadline {
                return Err(late(what));
            }
            sleep(STEP);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // The emulator may have ended already.
        drop(self.end());
    }
}

fn connect(child: &mut Child, socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return Ok(stream);
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("ended with {status}")));
        }
        if Instant::now() > deadline {
            return Err(late("it does not listen"));
        }
        sleep(STEP);
    }
}
