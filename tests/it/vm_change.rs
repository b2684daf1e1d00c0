//! The program on machines with a kernel of their own, one hierarchy of control groups and `/etc` and `/var` on different file
//! systems: rehearsed, changed, killed and taken back under containers that run; and with a clock that is set back a year,
//! which no other part of the suite can do.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::Process;
use mirrorshift_tests::lab::{Containerd, Frozen, Machine, MachineOptions, Machines, Nodes};
use mirrorshift_tests::node_trials::{CONFIG, MIRRORS, PROGRAM, TestNode, UNIT, small};
use mirrorshift_tests::{Ran, Tool, all_skipped, skipped};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The newest release: an emulator takes minutes for each.
const LINES: [&str; 1] = ["2.4"];
/// An emulator takes its time, on processors that others use too.
const CRI: Duration = Duration::from_mins(3);
/// An emulated processor needs more time than the usual deadlines give.
const PATIENT: [&str; 3] = ["--yes", "--serve-within", "2m"];

type Run = fn(Bench) -> Result<(), Failed>;

const TRIALS: [(&str, Run); 4] = [
    ("there_and_back", there_and_back),
    ("clock_set_back_before", clock_set_back_before),
    ("clock_set_back_in_the_middle", clock_set_back_in_the_middle),
    ("clock_set_back_while_it_is_down", clock_set_back_while_it_is_down),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match Machines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("vm_change", &why.to_string()),
    };
    let program = match Tool::program().and_then(small) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("there is no program to try: {error}");
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
                        run(Bench::new(&shared, &machines, &containerd, &program)?)
                    })
                }
                Err(why) => skipped(&name, &why.to_string()),
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A machine with live mirrors, and a container that runs.
struct Bench {
    machine: Machine,
    old: String,
    pids: BTreeMap<String, Process>,
}

impl Bench {
    /// Every trial goes on from the same machine, which the first of them boots.
    fn new(
        shared: &Mutex<Option<Arc<Frozen>>>,
        machines: &Machines,
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

    /// Runs the program, which must end with `code`.
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

    /// `migrate` or `rollback`.
    fn changes(&mut self, command: &str) -> Result<Ran, Failed> {
        self.ends(0, &[&[command][..], &PATIENT].concat())
    }

    /// `migrate` refuses for `reason` and says what to do about it.
    fn refuses(&mut self, reason: &str, hint: &str) -> Result<(), Failed> {
        let json = ["--output", "json"];
        let ran = self.ends(3, &[&["migrate"][..], &PATIENT, &json].concat())?;
        let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
        assert_eq!(document["error"]["reason"], reason, "{}", ran.stdout);
        assert!(document["error"].to_string().contains(hint), "{}", ran.stdout);
        self.is_old(reason)?;
        self.serves(reason)
    }

    /// CRI is ready, containers run on, and no guard is left.
    fn serves(&mut self, why: &str) -> Result<(), Failed> {
        self.machine.wait_cri(CRI)?;
        assert_eq!(
            self.machine.pids()?,
            self.pids,
            "{why}: containers have other processes"
        );
        self.no_guard_is_left(why)
    }

    fn no_guard_is_left(&mut self, why: &str) -> Result<(), Failed> {
        let look = ["sh", "-c", "ls /etc/systemd/system | grep mirrorshift"];
        let gone = |machine: &mut Machine| -> io::Result<_> { Ok(machine.run(&look)?.stdout.is_empty().then_some(())) };
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

    /// A year back, from now on. What was stamped before is of the future.
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

fn there_and_back(mut bench: Bench) -> Result<(), Failed> {
    let kind = bench.script("stat -fc %T /sys/fs/cgroup")?;
    assert_eq!(kind.trim(), "cgroup2fs");
    let ran = bench.changes("migrate")?;
    assert!(ran.stderr.contains("rehearsed"), "{}", ran.stderr);
    bench.is_new("migrated")?;
    bench.serves("migrated")?;
    bench.changes("migrate")?;
    bench.back_and_forth()?;

    // Killed when the new files are in force: systemd has it undone.
    let kill = format!(
        "{PROGRAM} migrate --yes --serve-within 2m & until grep -q config_path {CONFIG}; do :; done; \
         systemctl kill --signal=SIGKILL {UNIT}; wait $!"
    );
    let ran = bench.machine.run(&["sh", "-c", &kill])?;
    bench.is(4, ran)?;
    bench.is_old("killed")?;
    bench.serves("killed")
}

/// Whether containerd has read its files as they are, their times no longer tell. What the message advises helps.
fn clock_set_back_before(mut bench: Bench) -> Result<(), Failed> {
    bench.clock_back()?;
    bench.refuses("unknown", "touch")?;
    // Nor does a restart alone make it plain: the file would be newer for a year.
    bench.script("systemctl restart containerd")?;
    bench.refuses("unknown", "touch")?;
    bench.script(&format!("touch {CONFIG}; systemctl restart containerd"))?;
    bench.serves("restarted")?;
    bench.changes("migrate")?;
    bench.back_and_forth()
}

/// What a change times, it times by a clock that nobody sets; and the way back is open, although times tell nothing any more.
fn clock_set_back_in_the_middle(mut bench: Bench) -> Result<(), Failed> {
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

/// The guard tells boots apart by their names, not by their times.
fn clock_set_back_while_it_is_down(mut bench: Bench) -> Result<(), Failed> {
    bench.machine.begin(&[&[PROGRAM, "migrate"][..], &PATIENT].concat())?;
    bench.machine.said("restarting")?;
    let today = bench.script("date -u +%F")?;
    let time = bench.script("date -u -d '1 year ago' +%FT%T")?;
    bench.machine.cut()?;
    bench.machine.boot_again_at(time.trim())?;
    // systemd lets no clock be of a time before its own making.
    let now = bench.script("date -u +%F")?;
    assert!(now < today, "the clock was not set: {now}");
    bench.machine.wait_cri(CRI)?;
    bench.no_guard_is_left("booted")?;
    bench.is_old("booted")?;
    let journal: serde_json::Value = serde_json::from_str(&bench.ends(0, &["status", "--output", "json"])?.stdout)?;
    assert_eq!(journal["phase"], "idle", "{journal}");
    // No container outlives a boot.
    bench.pids = bench.machine.pids()?;
    bench.changes("migrate")?;
    bench.back_and_forth()
}
