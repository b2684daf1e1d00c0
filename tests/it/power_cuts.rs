//! `migrate` on a running node with mirrors in two files, whose power is cut at a random moment. After a boot from
//! its disks, CRI is ready, all files are the original ones or all are the new ones, the reported result is true, no
//! boot guard is left, the journal is closed, and the next `migrate` succeeds.
//!
//! Each cut begins with the same machine, which continues from a saved state, with `/etc` and `/var` on different
//! file systems. One in three continues from before the command, the others from the end of the rehearsal, so that
//! most moments are where a cut may do harm. Moments are times of the machine's clock. `MIRRORSHIFT_CUTS` is the
//! number of cuts of each kind on each release; without it each release gets one cut, of different kinds.
//! `MIRRORSHIFT_SEED` repeats the kinds and moments of an earlier run. `MIRRORSHIFT_CUTS_LOG` names a file with a
//! line for each cut, whose cuts are not repeated.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use std::fs::{
    File, {self},
};
use std::io::{
    Write, {self},
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Containerd, CutOff, Frozen, MachineOptions, Nodes, VirtualMachine, VirtualMachines};
use mirrorshift_tests::node_tests::{CONFIG, DROP_IN, PROGRAM, TestNode, small};
use mirrorshift_tests::{Ran, all_skipped, skipped, static_program};
use sha2::{Digest, Sha256};

/// The oldest release and the newest.
const LINES: [&str; 2] = ["1.6", "2.4"];
/// Longer than CRI has ever taken to become ready on a busy machine.
const CRI: Duration = Duration::from_mins(20);
/// An emulated processor needs more time than the default limit.
const MIGRATE: [&str; 5] = [PROGRAM, "migrate", "--yes", "--serve-within", "2m"];
/// The step after which only the change itself is left.
const REHEARSED: &str = "rehearsed";

/// A kind of change, and its exit code without a cut.
struct Kind {
    name: &'static str,
    more: &'static [&'static str],
    code: i32,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "good",
        more: &[],
        code: 0,
    },
    // No rehearsal pulls this image, and no registry serves it in the machine.
    Kind {
        name: "undone",
        more: &["--verify-image", "nowhere.invalid/none:1"],
        code: 4,
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match VirtualMachines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("power_cuts", &why.to_string()),
    };
    let campaign = match static_program()
        .and_then(|program| small(&program))
        .and_then(Campaign::new)
    {
        Ok(campaign) => Arc::new(campaign),
        Err(error) => {
            eprintln!("no machine can be booted: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("seed {}", campaign.seed);
    let trials = LINES.map(|line| {
        let name = format!("power_cuts::{line}");
        match Nodes::containerd(line) {
            Ok(containerd) => {
                let (machines, campaign) = (Arc::clone(&machines), Arc::clone(&campaign));
                Trial::test(name, move || campaign.run(&machines, &containerd))
            }
            Err(why) => skipped(&name, &why.to_string()),
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// The number of cuts, and their moments.
struct Campaign {
    program: PathBuf,
    /// The number of each kind; without it, one of one kind.
    cuts: Option<u64>,
    seed: String,
    log: Option<PathBuf>,
}

impl Campaign {
    fn new(program: PathBuf) -> io::Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let cuts = set("MIRRORSHIFT_CUTS").map(|text| text.parse().map_err(io::Error::other));
        let cuts = cuts.transpose()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        Ok(Self {
            program,
            cuts,
            seed: set("MIRRORSHIFT_SEED").unwrap_or_else(|| now.as_millis().to_string()),
            log: set("MIRRORSHIFT_CUTS_LOG").map(PathBuf::from),
        })
    }

    fn run(&self, machines: &VirtualMachines, containerd: &Containerd) -> Result<(), Failed> {
        let version = &containerd.version;
        let name = |kind: &Kind, number| format!("{version}\t{}\t{number}", kind.name);
        let left = |kind: &Kind| -> Vec<u64> {
            let all = 1..=self.cuts.unwrap_or(1);
            all.filter(|number| !self.is_done(&name(kind, *number))).collect()
        };
        let kinds = self.kinds(version.starts_with(LINES[0]));
        if kinds.iter().all(|kind| left(kind).is_empty()) {
            return Ok(());
        }
        let mut bench = CutBench::new(machines, containerd, &self.program)?;
        if version.starts_with(LINES[0]) {
            bench
                .without_syncs()
                .map_err(|error| format!("without syncs: {error}"))?;
            eprintln!("containerd {version}: without syncs a change does not hold");
        }
        if kinds.iter().all(|kind| kind.code != 0) {
            bench
                .learn_new()
                .map_err(|error| format!("what a change leaves: {error}"))?;
        }
        let mut broken = Vec::new();
        for kind in kinds {
            let run = bench.uncut(kind).map_err(|error| {
                let name = kind.name;
                format!("{name}, cut when it has ended: {error}")
            })?;
            let (whole, rehearsed) = (run.whole.as_secs_f64(), run.rehearsed.as_secs_f64());
            eprintln!(
                "containerd {version}: {} takes {whole:.1} s, rehearsed after {rehearsed:.1} s",
                kind.name
            );
            for number in left(kind) {
                let name = name(kind, number);
                let began = Instant::now();
                let (after, line) = match bench.cut(&run, number % 3 == 0, fraction(&format!("{} {name}", self.seed))) {
                    (after, Ok((which, said, step))) => (after, format!("{which}\t{said}\t{step}")),
                    (after, Err(error)) => {
                        broken.push(format!("{name} after {after:?}: {error}"));
                        let why = error.to_string().replace(['\n', '\t'], " ");
                        (after, format!("broken\t{why}\t"))
                    }
                };
                let (after, whole) = (after.as_secs_f32(), began.elapsed().as_secs_f32());
                self.write(&format!("{name}\t{line}\t{after:.3}\t{whole:.1}\t{}", self.seed))?;
            }
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(broken.join("\n").into())
    }

    /// Returns all kinds if a number was given, else one of them, which differs between the releases.
    fn kinds(&self, oldest: bool) -> &'static [Kind] {
        if self.cuts.is_some() {
            return &KINDS;
        }
        let first = (fraction(&self.seed) < 0.5) == oldest;
        if first { &KINDS[..1] } else { &KINDS[1..] }
    }

    fn is_done(&self, name: &str) -> bool {
        let text = self.log.as_ref().and_then(|log| fs::read_to_string(log).ok());
        text.is_some_and(|text| text.lines().any(|line| line.starts_with(&format!("{name}\t"))))
    }

    /// One call for a whole line, because several tests write.
    fn write(&self, line: &str) -> io::Result<()> {
        eprintln!("{}", line.replace('\t', "  "));
        match &self.log {
            Some(log) => File::options()
                .create(true)
                .append(true)
                .open(log)?
                .write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

/// Returns a number from 0 to 1 that depends only on the name.
fn fraction(name: &str) -> f64 {
    let digest = Sha256::digest(name);
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(number) / f64::from(u32::MAX)
}

/// A machine that serves, and its allowed files.
struct CutBench {
    frozen: Arc<Frozen>,
    old: String,
    /// Known once a change has settled.
    new: Option<String>,
}

/// A run without a cut, and the machine's state during it.
struct Uncut<'k> {
    kind: &'k Kind,
    midway: Arc<Frozen>,
    whole: Duration,
    rehearsed: Duration,
}

impl CutBench {
    fn new(machines: &VirtualMachines, containerd: &Containerd, program: &Path) -> io::Result<Self> {
        let mut options = MachineOptions::default();
        options.programs.insert(PROGRAM.into(), program.to_owned());
        for (path, text) in TestNode::mirrors_in_two_files() {
            options.files.insert(path.into(), text.into());
        }
        let mut machine = machines.boot(containerd, &options)?;
        machine.wait_cri(CRI)?;
        let old = files(&mut machine)?;
        Ok(Self {
            frozen: machine.freeze()?,
            old,
            new: None,
        })
    }

    /// Saves a machine's state once the change has rehearsed, and cuts the power of a machine that continues from
    /// there immediately after the change has ended. The reported result must be true after a boot.
    fn uncut<'k>(&mut self, kind: &'k Kind) -> io::Result<Uncut<'k>> {
        let mut machine = self.frozen.thaw()?;
        machine.begin(&[&MIGRATE, kind.more].concat())?;
        let rehearsed = machine.said(REHEARSED)?;
        let midway = machine.freeze_midway()?;
        let mut machine = midway.thaw()?;
        let ended = machine.ended()?;
        machine.cut()?;
        let Ran { code, stdout, stderr } = ended.ran;
        if code != kind.code {
            return Err(io::Error::other(format!("it ends with {code}: {stdout}{stderr}")));
        }
        machine.boot_again()?;
        if code == 0 {
            machine.wait_cri(CRI)?;
            let new = files(&mut machine)?;
            if new == self.old || !is_migrated(&mut machine)? {
                return Err(io::Error::other(format!("the reported result was lost: {new}")));
            }
            self.new = Some(new);
        }
        self.found(&mut machine, kind, Some(code))?;
        Ok(Uncut {
            kind,
            midway,
            whole: ended.took,
            rehearsed,
        })
    }

    /// Runs a change without any sync. It must be lost, because otherwise this test could not detect a missing sync.
    fn without_syncs(&self) -> io::Result<()> {
        let mut machine = self.frozen.thaw()?;
        // The kernel returns success without executing the call.
        let filter = "folder=/run/systemd/system/mirrorshift-change.service.d; mkdir -p $folder; \
            printf '[Service]\\nSystemCallFilter=~fsync:0 fdatasync:0 syncfs:0\\n' > $folder/filter.conf; \
            systemctl daemon-reload";
        machine.run(&["sh", "-ec", filter])?.ok()?;
        machine.run(&MIGRATE)?.ok()?;
        machine.cut()?;
        machine.boot_again()?;
        machine.wait_cri(CRI)?;
        if is_migrated(&mut machine)? {
            return Err(io::Error::other("a change without syncs was kept over a power cut"));
        }
        Ok(())
    }

    /// Learns the files after a change, if no [`CutBench::uncut`] has settled.
    fn learn_new(&mut self) -> io::Result<()> {
        let mut machine = self.frozen.thaw()?;
        machine.run(&MIGRATE)?.ok()?;
        self.new = Some(files(&mut machine)?);
        Ok(())
    }

    /// Cuts the power after a part of the change's duration, or slightly after its end, boots again and inspects the
    /// machine. Returns the time since the command, and the result: old or new, the journal's phase, and the last
    /// step that was reported before the cut.
    fn cut(&self, run: &Uncut<'_>, whole: bool, part: f64) -> (Duration, io::Result<(&'static str, String, String)>) {
        // Slightly more, because the duration varies.
        let most = run.whole.mul_f64(1.1);
        if whole {
            let after = most.mul_f64(part);
            let begun = self.frozen.thaw().and_then(|mut machine| {
                machine.begin(&[&MIGRATE, run.kind.more].concat())?;
                Ok(machine)
            });
            return (after, begun.and_then(|machine| self.cut_in(run.kind, machine, after)));
        }
        let after = most.saturating_sub(run.rehearsed).mul_f64(part);
        let cut = run
            .midway
            .thaw()
            .and_then(|machine| self.cut_in(run.kind, machine, after));
        (run.rehearsed + after, cut)
    }

    fn cut_in(
        &self,
        kind: &Kind,
        mut machine: VirtualMachine,
        after: Duration,
    ) -> io::Result<(&'static str, String, String)> {
        let CutOff { code, said } = machine.cut_in(after)?;
        if code.is_some_and(|code| code != kind.code) {
            return Err(io::Error::other(format!("it ended with {code:?}: {said}")));
        }
        machine.boot_again()?;
        let found = self.found(&mut machine, kind, code)?;
        self.next(&mut machine, &found)
            .map_err(|error| with_scene(&mut machine, &error))?;
        let ended = if code.is_some() { "ended" } else { "cut off" };
        let step = said.lines().last().and_then(|line| line.split_whitespace().nth(2));
        Ok((
            if found.old { "old" } else { "new" },
            format!("{}, {ended}", found.last),
            step.unwrap_or("nothing").to_owned(),
        ))
    }

    /// Returns the result of [`CutBench::look`], or its error with the state of the machine.
    fn found(&self, machine: &mut VirtualMachine, kind: &Kind, reported: Option<i32>) -> io::Result<Found> {
        self.look(machine, kind, reported)
            .map_err(|error| with_scene(machine, &error))
    }

    /// Checks that CRI is ready, that the files are old or new and match a reported result, and that nothing of the
    /// change is left.
    fn look(&self, machine: &mut VirtualMachine, kind: &Kind, reported: Option<i32>) -> io::Result<Found> {
        machine.wait_cri(CRI)?;
        no_guard_is_left(machine)?;
        let Journal { last, serves_not } = journal(machine)?;
        // A change that is armed and has not begun is the result of a cut between the journal and the boot guard.
        // Nothing closes it at the boot, and nothing needs to: the next command does, and removes the staged files.
        let begun = last != "open, armed";
        let files = files(machine)?;
        let old = self.is_old(&files)?;
        if let Some(code) = reported.filter(|code| old != (*code != 0)) {
            return Err(io::Error::other(format!(
                "the files do not match the reported exit code {code}"
            )));
        }
        // A node must never keep files with which containerd did not serve.
        if !old && kind.code != 0 {
            return Err(io::Error::other("the files are those that were to be undone"));
        }
        let beside = beside(machine)?;
        if begun && !beside.is_empty() {
            return Err(io::Error::other(format!("staged files are left: {beside}")));
        }
        let may = if old {
            &["none", "open, armed", "undone"][..]
        } else {
            &["settled"]
        };
        if !may.contains(&last.as_str()) || (!begun && reported.is_some()) {
            return Err(io::Error::other(format!("the journal has `{last}`, old is {old}")));
        }
        let failed = machine.run(&["systemctl", "--failed", "--no-legend", "--plain"])?;
        let failed = failed.ok()?.stdout;
        if !failed.is_empty() {
            return Err(io::Error::other(format!("failed: {failed}")));
        }
        Ok(Found { old, last, serves_not })
    }

    /// Checks that the next command settles, and leaves only what it reports.
    fn next(&self, machine: &mut VirtualMachine, found: &Found) -> io::Result<()> {
        let mut next = machine.run(&MIGRATE)?;
        if found.serves_not {
            let refused = next.code == 3 && next.stderr.contains("undone");
            if !refused {
                return Err(failed("what containerd did not serve with is tried again", next));
            }
            next = machine.run(&[&MIGRATE[..], &["--again"]].concat())?;
        }
        if next.code != 0 {
            return Err(failed("the next change", next));
        }
        no_guard_is_left(machine)?;
        let beside = beside(machine)?;
        let last = journal(machine)?.last;
        let files = files(machine)?;
        if self.is_old(&files)? || last != "settled" || !beside.is_empty() {
            return Err(io::Error::other(format!(
                "the next change left {last}, {beside}: {files}"
            )));
        }
        Ok(())
    }

    /// Returns whether all files are old; it is an error if they are neither all old nor all new.
    fn is_old(&self, files: &String) -> io::Result<bool> {
        if *files == self.old {
            return Ok(true);
        }
        if Some(files) == self.new.as_ref() {
            return Ok(false);
        }
        Err(io::Error::other(format!("the files are neither old nor new: {files}")))
    }
}

/// The state of a machine after the boot.
struct Found {
    old: bool,
    last: String,
    serves_not: bool,
}

/// A script that prints what a person needs to see of a machine with a failure.
const SCENE: &str = "find /etc/containerd /etc/systemd/system/*mirrorshift* /etc/systemd/system/containerd* /var/lib/mirrorshift \
    -ls; cat /var/lib/mirrorshift/journal.json; journalctl -b --no-pager -o cat -u 'mirrorshift*' -u containerd | tail -n 40";

fn with_scene(machine: &mut VirtualMachine, error: &io::Error) -> io::Error {
    let scene = machine.run(&["sh", "-c", SCENE]).map(|ran| ran.stdout);
    let scene = scene.unwrap_or_else(|error| error.to_string());
    io::Error::other(format!("{error}\n{scene}"))
}

fn failed(what: &str, Ran { code, stdout, stderr }: Ran) -> io::Error {
    io::Error::other(format!("{what}: ends with {code}: {stdout}{stderr}"))
}

/// Returns everything in containerd's configuration folder except staged files: kinds, modes, owners and digests.
fn files(machine: &mut VirtualMachine) -> io::Result<String> {
    let script = "cd /etc/containerd; find . ! -name '*.new' ! -name '*.part' -printf '%y %m %U %G %p\\n' | sort; \
        find . -type f ! -name '*.new' ! -name '*.part' -exec sha256sum {} + | sort";
    Ok(machine.run(&["sh", "-ec", script])?.ok()?.stdout)
}

fn beside(machine: &mut VirtualMachine) -> io::Result<String> {
    let copies = ["find", "/etc/containerd", "-name", "*.new", "-o", "-name", "*.part"];
    Ok(machine.run(&copies)?.ok()?.stdout)
}

/// Returns whether hosts directories are in force and nothing is left to do. On 1.x the root file keeps its mirrors,
/// because the drop-in's table replaces the root's.
fn is_migrated(machine: &mut VirtualMachine) -> io::Result<bool> {
    let text = machine.read(CONFIG)? + &machine.read(DROP_IN)?;
    let planned = machine.run(&[PROGRAM, "plan", "--exit-code"])?;
    Ok(text.contains("config_path") && planned.code == 0)
}

fn no_guard_is_left(machine: &mut VirtualMachine) -> io::Result<()> {
    machine.until("a guard is left", CRI, |machine| {
        let units = "ls /etc/systemd/system | grep -e mirrorshift -e containerd.service.wants";
        Ok(machine.run(&["sh", "-c", units])?.stdout.is_empty().then_some(()))
    })
}

/// The last change in the journal.
struct Journal {
    last: String,
    /// True if it was undone because containerd did not serve with it.
    serves_not: bool,
}

fn journal(machine: &mut VirtualMachine) -> io::Result<Journal> {
    let ran = machine.run(&["cat", "/var/lib/mirrorshift/journal.json"])?;
    if ran.code != 0 {
        return Ok(Journal {
            last: "none".into(),
            serves_not: false,
        });
    }
    let journal: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    let body = &journal["body"];
    let phase = |change: &serde_json::Value| change["phase"].as_str().unwrap_or("of no name").to_owned();
    let last = body["history"].as_array().and_then(|history| history.last());
    Ok(Journal {
        last: if body["open"].is_null() {
            last.map_or_else(|| "none".into(), phase)
        } else {
            format!("open, {}", phase(&body["open"]))
        },
        serves_not: last.is_some_and(|change| change["phase"] == "undone" && change["why"] == "daemon"),
    })
}
