//! The program on virtual machines with their own kernel, a unified control group hierarchy, and `/etc` and `/var` on
//! different file systems: rehearsed, migrated, killed and rolled back with running containers; and with a clock that
//! is set back a year, which only these tests can do.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::ContainerProcess;
use mirrorshift_tests::lab::{Containerd, Frozen, MachineOptions, Nodes, VirtualMachine, VirtualMachines};
use mirrorshift_tests::node_tests::{CONFIG, MIRRORS, PROGRAM, TestNode, UNIT, small};
use mirrorshift_tests::{Ran, Tool, all_skipped, skipped};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Only the newest release, because an emulator takes minutes for each.
const LINES: [&str; 1] = ["2.4"];
/// Longer than CRI has ever taken to become ready on a busy machine.
const CRI: Duration = Duration::from_mins(3);
/// An emulated processor needs more time than the default limits.
const PATIENT: [&str; 3] = ["--yes", "--serve-within", "2m"];

type Run = fn(VmBench) -> Result<(), Failed>;

const TRIALS: [(&str, Run); 4] = [
    (
        "containers_survive_migrate_and_rollback",
        containers_survive_migrate_and_rollback,
    ),
    (
        "clock_set_back_before_a_change_is_refused",
        clock_set_back_before_a_change_is_refused,
    ),
    (
        "clock_set_back_during_a_change_is_ignored",
        clock_set_back_during_a_change_is_ignored,
    ),
    (
        "clock_set_back_while_down_is_ignored",
        clock_set_back_while_down_is_ignored,
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match VirtualMachines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("vm_change", &why.to_string()),
    };
    let program = match Tool::program().and_then(small) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("the program cannot be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for line in LINES {
        let containerd = Nodes::containerd(line);
        let shared = Arc::new(Mutex::new(None));
        for (name, run) in TRIALS {
            let name = format!("vm_change::{line}::{name}");
            trials.push(match &containerd {
                Ok(containerd) => {
                    let (machines, program) = (Arc::clone(&machines), Arc::clone(&program));
                    let (shared, containerd) = (Arc::clone(&shared), containerd.clone());
                    Trial::test(name, move || {
                        run(VmBench::new(&shared, &machines, &containerd, &program)?)
                    })
                }
                Err(why) => skipped(&name, &why.to_string()),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A machine with mirrors that are in use, and a running container.
struct VmBench {
    machine: VirtualMachine,
    old: String,
    pids: BTreeMap<String, ContainerProcess>,
}

impl VmBench {
    /// Boots the machine of the first test; every test continues from its saved state.
    fn new(
        shared: &Mutex<Option<Arc<Frozen>>>,
        machines: &VirtualMachines,
        containerd: &Containerd,
        program: &Arc<PathBuf>,
    ) -> Result<Self, Failed> {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let frozen = if let Some(frozen) = &*shared {
            Arc::clone(frozen)
        } else {
            let mut options = MachineOptions::default();
            options.programs.insert(PROGRAM.into(), program.to_path_buf());
            options.files.insert(CONFIG.into(), TestNode::config(MIRRORS).into());
            let mut machine = machines.boot(containerd, &options)?;
            machine.wait_cri(CRI)?;
            machine.start_workload("one")?;
            Arc::clone(shared.insert(machine.freeze()?))
        };
        drop(shared);
        let mut machine = frozen.thaw()?;
        let pids = machine.pids()?;
        assert_eq!(pids.len(), 2, "a sandbox and its container: {pids:?}");
        Ok(Self {
            old: machine.read(CONFIG)?,
            machine,
            pids,
        })
    }

    /// Runs the program, whose exit code must be `code`.
    fn ends(&mut self, code: i32, words: &[&str]) -> Result<Ran, Failed> {
        let ran = self.machine.run(&[&[PROGRAM], words].concat())?;
        self.is(code, ran)
    }

    fn is(&mut self, code: i32, ran: Ran) -> Result<Ran, Failed> {
        if ran.code == code {
            return Ok(ran);
        }
        let journal = ["journalctl", "-b", "-n", "80", "--no-pager"];
        let journal = self.machine.run(&journal)?.stdout;
        let Ran {
            code: found,
            stdout,
            stderr,
        } = ran;
        Err(format!("ended with {found} and not {code}: {stdout}{stderr}\n{journal}").into())
    }

    /// Runs `migrate` or `rollback`.
    fn changes(&mut self, command: &str) -> Result<Ran, Failed> {
        self.ends(0, &[&[command][..], &PATIENT].concat())
    }

    /// Checks that `migrate` refuses for `reason` and prints the hint.
    fn refuses(&mut self, reason: &str, hint: &str) -> Result<(), Failed> {
        let json = ["--output", "json"];
        let ran = self.ends(3, &[&["migrate"][..], &PATIENT, &json].concat())?;
        let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
        assert_eq!(document["error"]["reason"], reason, "{}", ran.stdout);
        assert!(document["error"].to_string().contains(hint), "{}", ran.stdout);
        self.is_old(reason)?;
        self.serves(reason)
    }

    /// Checks that CRI is ready, that containers still run, and that no boot guard is left.
    fn serves(&mut self, why: &str) -> Result<(), Failed> {
        self.machine.wait_cri(CRI)?;
        assert_eq!(
            self.machine.pids()?,
            self.pids,
            "{why}: the processes of containers changed"
        );
        self.no_guard_is_left(why)
    }

    fn no_guard_is_left(&mut self, why: &str) -> Result<(), Failed> {
        let look = ["sh", "-c", "ls /etc/systemd/system | grep mirrorshift"];
        let gone =
            |machine: &mut VirtualMachine| -> io::Result<_> { Ok(machine.run(&look)?.stdout.is_empty().then_some(())) };
        Ok(self.machine.until(&format!("{why}: a guard is left"), CRI, gone)?)
    }

    fn is_old(&mut self, why: &str) -> Result<(), Failed> {
        assert_eq!(self.machine.read(CONFIG)?, self.old, "{why}");
        Ok(())
    }

    fn is_new(&mut self, why: &str) -> Result<(), Failed> {
        let now = self.machine.read(CONFIG)?;
        assert!(now.contains("config_path") && !now.contains("mirrors"), "{why}: {now}");
        Ok(())
    }

    fn script(&mut self, script: &str) -> Result<String, Failed> {
        Ok(self.machine.run(&["sh", "-ec", script])?.ok()?.stdout)
    }

    /// Sets the clock back a year. All earlier times are then in the future.
    fn clock_back(&mut self) -> Result<(), Failed> {
        let (before, after) = {
            let said = self.script("date +%Y%m; date -s '1 year ago' > /dev/null; date +%Y%m")?;
            let months: Vec<u32> = said.lines().filter_map(|month| month.parse().ok()).collect();
            (months[0], months[1])
        };
        assert_eq!(before - after, 100, "the clock was not set");
        Ok(())
    }

    fn back_and_forth(&mut self) -> Result<(), Failed> {
        self.is_new("migrated")?;
        self.serves("migrated")?;
        self.changes("rollback")?;
        self.is_old("rolled back")?;
        self.serves("rolled back")
    }
}

fn containers_survive_migrate_and_rollback(mut bench: VmBench) -> Result<(), Failed> {
    let kind = bench.script("stat -fc %T /sys/fs/cgroup")?;
    assert_eq!(kind.trim(), "cgroup2fs");
    let ran = bench.changes("migrate")?;
    assert!(ran.stderr.contains("rehearsed"), "{}", ran.stderr);
    bench.is_new("migrated")?;
    bench.serves("migrated")?;
    bench.changes("migrate")?;
    bench.back_and_forth()?;

    // Killed when the new files are in place: systemd starts the undo.
    let kill = format!(
        "{PROGRAM} migrate --yes --serve-within 2m & until grep -q config_path {CONFIG}; do :; done; \
         systemctl kill --signal=SIGKILL {UNIT}; wait $!"
    );
    let ran = bench.machine.run(&["sh", "-c", &kill])?;
    bench.is(4, ran)?;
    bench.is_old("killed")?;
    bench.serves("killed")
}

/// Checks that `migrate` refuses when file times no longer show whether containerd has read its files, and that the
/// hint helps.
fn clock_set_back_before_a_change_is_refused(mut bench: VmBench) -> Result<(), Failed> {
    bench.clock_back()?;
    bench.refuses("unknown", "touch")?;
    // A restart is not enough: the file would be newer for a year.
    bench.script("systemctl restart containerd")?;
    bench.refuses("unknown", "touch")?;
    bench.script(&format!("touch {CONFIG}; systemctl restart containerd"))?;
    bench.serves("restarted")?;
    bench.changes("migrate")?;
    bench.back_and_forth()
}

/// Checks that a change measures time with a monotonic clock, and that a rollback is possible although file times are
/// not usable.
fn clock_set_back_during_a_change_is_ignored(mut bench: VmBench) -> Result<(), Failed> {
    for step in ["armed", "restarting"] {
        bench.machine.begin(&[&[PROGRAM, "migrate"][..], &PATIENT].concat())?;
        bench.machine.said(step)?;
        bench.clock_back()?;
        let events = bench.script("cat /run/mirrorshift/$(cat /run/mirrorshift/last)/events")?;
        let ended = bench.machine.ended()?.ran;
        bench.is(0, ended)?;
        assert!(!events.contains("\"settled\""), "the clock was set too late: {events}");
        bench.back_and_forth()?;
    }
    Ok(())
}

/// Checks that the boot guard identifies boots by their id and not by their time.
fn clock_set_back_while_down_is_ignored(mut bench: VmBench) -> Result<(), Failed> {
    bench.machine.begin(&[&[PROGRAM, "migrate"][..], &PATIENT].concat())?;
    bench.machine.said("restarting")?;
    let today = bench.script("date -u +%F")?;
    let time = bench.script("date -u -d '1 year ago' +%FT%T")?;
    bench.machine.cut()?;
    bench.machine.boot_again_at(time.trim())?;
    // systemd does not accept a time before its own build.
    let now = bench.script("date -u +%F")?;
    assert!(now < today, "the clock was not set: {now}");
    bench.machine.wait_cri(CRI)?;
    bench.no_guard_is_left("booted")?;
    bench.is_old("booted")?;
    let journal: serde_json::Value = serde_json::from_str(&bench.ends(0, &["status", "--output", "json"])?.stdout)?;
    assert_eq!(journal["phase"], "idle", "{journal}");
    // No container survives a boot.
    bench.pids = bench.machine.pids()?;
    bench.changes("migrate")?;
    bench.back_and_forth()
}
