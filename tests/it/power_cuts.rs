//! A change of a running node's config.toml, cut off with the power of its machine at a random moment. After a boot from what
//! the disks kept, CRI is ready, the files are the old ones or the new ones and what was reported holds, no guard is left,
//! the journal is closed, and the next change succeeds.
//!
//! Each cut begins with the same machine, thawed, with `/etc` and `/var` on different file systems. `MIRRORSHIFT_CUTS` is how
//! many of each kind a release gets; `MIRRORSHIFT_SEED` repeats the moments of an earlier run, as far as time in an
//! emulator repeats; `MIRRORSHIFT_CUTS_LOG` names a file that has a line for each cut and whose cuts are not done again.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::BASE;
use mirrorshift_tests::lab::{Containerd, Frozen, Machine, MachineOptions, Machines, Nodes};
use mirrorshift_tests::{Ran, all_skipped, built_example, skipped};
use sha2::{Digest, Sha256};

/// The oldest release and the newest.
const LINES: [&str; 2] = ["1.6", "2.4"];
/// Longer than CRI has ever taken, on processors that others use too.
const CRI: Duration = Duration::from_mins(3);
const CONFIG: &str = "/etc/containerd/config.toml";
const PROGRAM: &str = "/usr/local/bin/live_change";

/// What CRI reads hosts directories with.
const GOOD: &str = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
/// What leaves containerd's unit active and its CRI dead.
const BOTH: &str = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n\
    [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"http://m.test\"]\n";

/// A change, and how it ends when nobody cuts it off.
struct Kind {
    name: &'static str,
    tables: &'static str,
    code: i32,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "good",
        tables: GOOD,
        code: 0,
    },
    Kind {
        name: "refused",
        tables: BOTH,
        code: 4,
    },
];

impl Kind {
    fn file(&self) -> String {
        format!("/root/{}.toml", self.name)
    }

    fn text(&self) -> String {
        format!("{BASE}{}", self.tables)
    }

    /// The command that is cut off.
    fn command(&self) -> [String; 3] {
        [PROGRAM.into(), "apply".into(), self.file()]
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match Machines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("power_cuts", &why.to_string()),
    };
    let campaign = match built_example("live_change").and_then(Campaign::new) {
        Ok(campaign) => Arc::new(campaign),
        Err(error) => {
            eprintln!("no power is cut: {error}");
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

/// How many cuts, and when.
struct Campaign {
    program: PathBuf,
    cuts: u64,
    seed: String,
    log: Option<PathBuf>,
}

impl Campaign {
    fn new(program: PathBuf) -> io::Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let cuts = set("MIRRORSHIFT_CUTS").map_or(Ok(1), |text| text.parse().map_err(io::Error::other))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        Ok(Self {
            program,
            cuts,
            seed: set("MIRRORSHIFT_SEED").unwrap_or_else(|| now.as_millis().to_string()),
            log: set("MIRRORSHIFT_CUTS_LOG").map(PathBuf::from),
        })
    }

    fn run(&self, machines: &Machines, containerd: &Containerd) -> Result<(), Failed> {
        let name = |kind: &Kind, number| format!("{}\t{}\t{number}", containerd.version, kind.name);
        let cuts = (1..=self.cuts).flat_map(|number| KINDS.iter().map(move |kind| (kind, number)));
        let left: Vec<_> = cuts
            .filter(|(kind, number)| !self.is_done(&name(kind, *number)))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let frozen = frozen(machines, containerd, &self.program)?;
        if containerd.version.starts_with(LINES[0]) {
            without_syncs(&frozen).map_err(|error| format!("without syncs: {error}"))?;
            eprintln!(
                "containerd {}: without syncs a change does not hold",
                containerd.version
            );
        }
        let mut took = Vec::new();
        for kind in &KINDS {
            let time =
                ended(&frozen, kind).map_err(|error| format!("{}, cut when it has ended: {error}", kind.name))?;
            eprintln!(
                "containerd {}: {} takes {:.1} s",
                containerd.version,
                kind.name,
                time.as_secs_f32()
            );
            took.push((kind.name, time));
        }
        let mut broken = Vec::new();
        for (kind, number) in left {
            let name = name(kind, number);
            let whole = took
                .iter()
                .find(|(of, _)| *of == kind.name)
                .map_or(CRI, |(_, time)| *time);
            // A little more, as no run takes as long as the last.
            let after = whole.mul_f64(1.1 * fraction(&format!("{} {name}", self.seed)));
            let began = Instant::now();
            let line = match cut(&frozen, kind, after) {
                Ok(found) => format!("{name}\t{found}"),
                Err(error) => {
                    let why = error.to_string().replace(['\n', '\t'], " ");
                    broken.push(format!("{name} after {after:?}: {error}"));
                    format!("{name}\tbroken\t{why}")
                }
            };
            let (after, whole) = (after.as_secs_f32(), began.elapsed().as_secs_f32());
            self.write(&format!("{line}\t{after:.3}\t{whole:.1}\t{}", self.seed))?;
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(broken.join("\n").into())
    }

    fn is_done(&self, name: &str) -> bool {
        let text = self.log.as_ref().and_then(|log| fs::read_to_string(log).ok());
        text.is_some_and(|text| text.lines().any(|line| line.starts_with(&format!("{name}\t"))))
    }

    /// One call for one line, as several trials write.
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

/// A number from 0 to 1 that a name stands for.
fn fraction(name: &str) -> f64 {
    let digest = Sha256::digest(name);
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(number) / f64::from(u32::MAX)
}

/// A machine that serves, with what is put in place later.
fn frozen(machines: &Machines, containerd: &Containerd, program: &Path) -> io::Result<Arc<Frozen>> {
    let mut options = MachineOptions::default();
    options.programs.insert(PROGRAM.into(), program.to_owned());
    options.files.insert(CONFIG.into(), BASE.into());
    for kind in &KINDS {
        options.files.insert(kind.file(), kind.text().into());
    }
    let mut machine = machines.boot(containerd, &options)?;
    machine.wait_cri(CRI)?;
    machine.freeze()
}

/// Cuts the power once the change has ended, as early as one can know: what it said must hold after a boot. How long it took.
fn ended(frozen: &Arc<Frozen>, kind: &Kind) -> io::Result<Duration> {
    let mut machine = frozen.thaw()?;
    let began = Instant::now();
    let ran = machine.run(&kind.command().each_ref().map(String::as_str))?;
    let took = began.elapsed();
    machine.cut()?;
    if ran.code != kind.code {
        let Ran { code, stdout, stderr } = ran;
        return Err(io::Error::other(format!("it ends with {code}: {stdout}{stderr}")));
    }
    machine.boot_again()?;
    found(&mut machine, kind, Some(&ran))?;
    Ok(took)
}

/// The same for a change whose every sync is taken away: it must not hold, or nothing here would show one that is missing.
fn without_syncs(frozen: &Arc<Frozen>) -> io::Result<()> {
    let kind = &KINDS[0];
    let mut machine = frozen.thaw()?;
    let command = kind.command();
    let mut traced = vec!["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"];
    traced.extend(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"]);
    traced.extend(command.each_ref().map(String::as_str));
    let ran = machine.run(&traced)?.ok()?;
    machine.cut()?;
    machine.boot_again()?;
    match look(&mut machine, kind, Some(&ran)) {
        Err(error) if error.to_string().starts_with("config.toml ") => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("a change without a sync outlives a cut")),
    }
}

/// Cuts the power that long after the change began, boots again and looks.
fn cut(frozen: &Arc<Frozen>, kind: &Kind, after: Duration) -> io::Result<String> {
    let mut machine = frozen.thaw()?;
    let ran = machine.cut_in(&kind.command().each_ref().map(String::as_str), after)?;
    if let Some(ran) = ran.as_ref().filter(|ran| ran.code != kind.code) {
        return Err(io::Error::other(format!(
            "it ended with {}: {}{}",
            ran.code, ran.stdout, ran.stderr
        )));
    }
    machine.boot_again()?;
    let found = found(&mut machine, kind, ran.as_ref())?;
    let next = machine.run(&[PROGRAM, "apply", &KINDS[0].file()])?;
    let last = last_phase(&mut machine)?;
    if next.code != 0 || last != "settled" || machine.read(CONFIG)? != KINDS[0].text() {
        let Ran { code, stderr, .. } = next;
        return Err(io::Error::other(format!(
            "the next change ends with {code}, {last}: {stderr}"
        )));
    }
    let ended = if ran.is_some() { "ended" } else { "cut off" };
    Ok(format!(
        "{}\t{}, {ended}",
        if found.old { "old" } else { "new" },
        found.last
    ))
}

/// What a person would want to see of a machine that is not as it should be.
const SCENE: &str = "ls -la /etc/containerd /etc/systemd/system /var/lib/mirrorshift; cat /var/lib/mirrorshift/journal.json; \
    journalctl -b --no-pager -o cat -u 'mirrorshift*' -u containerd | tail -n 40";

/// What a machine was found with.
struct Found {
    old: bool,
    /// The phase of the last change that the journal remembers.
    last: String,
}

/// What [`look`] finds, or what is wrong with the machine and how it looks.
fn found(machine: &mut Machine, kind: &Kind, reported: Option<&Ran>) -> io::Result<Found> {
    look(machine, kind, reported).map_err(|error| {
        let scene = machine.run(&["sh", "-c", SCENE]).map(|ran| ran.stdout);
        let scene = scene.unwrap_or_else(|error| error.to_string());
        io::Error::other(format!("{error}\n{scene}"))
    })
}

/// CRI is ready; the files are old or new, and those that were reported, if an end was; nothing of the change is left.
fn look(machine: &mut Machine, kind: &Kind, reported: Option<&Ran>) -> io::Result<Found> {
    machine.wait_cri(CRI)?;
    machine.until("a guard is left", CRI, |machine| {
        let units = "ls /etc/systemd/system | grep -e mirrorshift -e containerd.service.wants";
        Ok(machine.run(&["sh", "-c", units])?.stdout.is_empty().then_some(()))
    })?;
    let config = machine.read(CONFIG)?;
    let old = config == BASE;
    if !old && config != kind.text() {
        return Err(io::Error::other(format!("config.toml is neither: {config:?}")));
    }
    // What leaves CRI dead is never what a node is left with.
    if !old && kind.code != 0 {
        return Err(io::Error::other("config.toml is what containerd refused"));
    }
    if let Some(ran) = reported.filter(|ran| old != (ran.code != 0)) {
        return Err(io::Error::other(format!(
            "config.toml is not what was reported: {}",
            ran.stdout
        )));
    }
    let beside = machine.run(&["ls", "-A", "/etc/containerd"])?.ok()?.stdout;
    if beside != "config.toml\n" {
        return Err(io::Error::other(format!("files are left: {beside}")));
    }
    let last = last_phase(machine)?;
    // Armed and not begun is what a cut leaves between the journal and the guard. Nobody is there to close it, and nothing
    // needs it: the next command does.
    let may = if old {
        &["none", "open, armed", "undone"][..]
    } else {
        &["settled"]
    };
    if !may.contains(&last.as_str()) || (last.starts_with("open") && reported.is_some()) {
        return Err(io::Error::other(format!("the journal says `{last}`, old is {old}")));
    }
    let failed = machine
        .run(&["systemctl", "--failed", "--no-legend", "--plain"])?
        .ok()?
        .stdout;
    if !failed.is_empty() {
        return Err(io::Error::other(format!("failed: {failed}")));
    }
    Ok(Found { old, last })
}

/// The phase of the last change that the journal remembers.
fn last_phase(machine: &mut Machine) -> io::Result<String> {
    let ran = machine.run(&["cat", "/var/lib/mirrorshift/journal.json"])?;
    if ran.code != 0 {
        return Ok("none".into());
    }
    let journal: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    let body = &journal["body"];
    let phase = |change: &serde_json::Value| change["phase"].as_str().unwrap_or("of no name").to_owned();
    if !body["open"].is_null() {
        return Ok(format!("open, {}", phase(&body["open"])));
    }
    let last = body["history"].as_array().and_then(|history| history.last());
    Ok(last.map_or_else(|| "none".into(), phase))
}
