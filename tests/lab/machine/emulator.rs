//! The process that a machine is.

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
use super::image::Image;
use super::late;
use super::monitor::Monitor;
use super::port::Port;

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);
/// How long it may take until QEMU listens, or ends. It takes 0.1 s, on processors that nobody uses first.
const SOON: Duration = Duration::from_mins(5);

/// The kernel's words. No tests of its own parts, no defence against its own programs and no ACPI, which cost an emulated
/// processor time.
const WORDS: &str =
    "console=ttyS0 quiet panic=-1 acpi=off pci=nomsi cryptomgr.notests mitigations=off systemd.show_status=no";
/// Time in the machine goes by what its processor has done, 4 ns for an instruction, or by the clock while it has nothing to do.
/// So a deadline in it is as long as on a processor that is a little slow, however busy the one below is.
const TIME: &str = "shift=2";

/// How a machine begins to run.
pub(super) enum Start {
    /// It boots with what the test gave it on a disk.
    First,
    /// It boots from its own disks alone, with this machine's time or another one.
    Again(Option<String>),
    /// It goes on from a saved state.
    From(PathBuf),
}

/// What it is made of.
pub(super) struct Parts<'a> {
    pub(super) image: &'a Image,
    pub(super) folder: &'a Path,
    pub(super) seed: &'a Path,
}

/// A running one. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Emulator {
    child: Child,
    monitor: Monitor,
    /// The way to the agent inside.
    pub(super) port: Port,
}

impl Emulator {
    /// Starts it; what runs in it needs time.
    pub(super) fn start(parts: &Parts<'_>, start: Start) -> io::Result<Self> {
        let at = |name: &str| parts.folder.join(name);
        for socket in ["monitor", "port"] {
            drop(fs::remove_file(at(socket)));
        }
        let console = File::options().create(true).append(true).open(at("console"))?;
        // Ends with the thread that started it, however that ends. In software alone: where a machine is itself a guest,
        // KVM is often there and hangs.
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

    /// The number of the process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a cut of the power would.
    pub(super) fn kill(mut self) -> io::Result<()> {
        self.end()
    }

    /// Stops its time, writes its memory to a file and ends it. Its disks are complete then.
    pub(super) fn save(&mut self, state: &Path, within: Duration) -> io::Result<()> {
        self.monitor.ask("stop", &json!({}))?;
        // Nobody else uses this way; the usual bound is for networks.
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

    /// Lets a machine whose state is being read go on.
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
        // One that has ended already is what was wanted.
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
