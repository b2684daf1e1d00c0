//! Tests of the lab's virtual machines: they must have the documented properties, and a power cut must lose exactly
//! what was not synced.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::node::BASE;
use mirrorshift_tests::lab::{
    Containerd, CutOff, Ended, Frozen, MachineOptions, Nodes, VirtualMachine, VirtualMachines,
};
use mirrorshift_tests::{Ran, all_skipped, skipped};

type Run = fn(&VirtualMachines, &Containerd) -> Result<(), Failed>;

const CASES: [(&str, &str, Run); 5] = [
    ("1.6", "boots", boots),
    ("2.4", "boots", boots),
    (
        "1.6",
        "power_cut_loses_what_is_not_synced",
        power_cut_loses_what_is_not_synced,
    ),
    ("2.4", "frozen_machine_continues", frozen_machine_continues),
    ("1.6", "dropped_machine_leaves_nothing", dropped_machine_leaves_nothing),
];

/// Longer than CRI has ever taken to become ready on a busy machine.
const CRI: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match VirtualMachines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("machines", &why.to_string()),
    };
    let trials = CASES.map(|(line, name, run)| {
        let name = format!("machines::{line}::{name}");
        match Nodes::containerd(line) {
            Ok(containerd) => {
                let machines = Arc::clone(&machines);
                Trial::test(name, move || run(&machines, &containerd))
            }
            Err(why) => skipped(&name, &why.to_string()),
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn figure(containerd: &Containerd, what: &str, since: Instant) {
    let took = since.elapsed().as_secs_f32();
    eprintln!("containerd {}: {what} in {took:.1} s", containerd.version);
}

fn boot(machines: &VirtualMachines, containerd: &Containerd) -> io::Result<VirtualMachine> {
    let mut options = MachineOptions::default();
    options.files.insert("/etc/containerd/config.toml".into(), BASE.into());
    let mut machine = machines.boot(containerd, &options)?;
    machine.wait_cri(CRI)?;
    Ok(machine)
}

/// Returns the output of a script that must succeed.
fn output_of(machine: &mut VirtualMachine, script: &str) -> io::Result<String> {
    Ok(machine.run(&["sh", "-c", script])?.ok()?.stdout.trim().to_owned())
}

fn boots(machines: &VirtualMachines, containerd: &Containerd) -> Result<(), Failed> {
    let began = Instant::now();
    let mut machine = boot(machines, containerd)?;
    figure(containerd, "booted, with CRI,", began);
    assert_eq!(output_of(&mut machine, "stat -fc %T /sys/fs/cgroup")?, "cgroup2fs");
    assert_eq!(
        output_of(&mut machine, "stat -fc %T /etc /var/lib /run")?,
        "ext2/ext3\nxfs\ntmpfs"
    );
    let version = output_of(&mut machine, "containerd --version")?;
    assert_eq!(version.split_whitespace().nth(2), Some(containerd.printed.as_str()));
    assert_eq!(output_of(&mut machine, "systemctl --failed --no-legend --plain")?, "");
    // A failure is reported, with both outputs.
    let ran = machine.run(&["sh", "-c", "echo \"it's\"; echo one >&2; echo two >&2; exit 3"])?;
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (3, "it's\n", "one\ntwo\n")
    );
    // A CRI that does not serve is reported.
    output_of(&mut machine, "systemctl stop containerd")?;
    assert_eq!(machine.cri()?, None);
    Ok(())
}

const OLD: &str = "for at in /etc /var/lib; do
  head -c 65536 /dev/zero > $at/direct; echo old > $at/replaced
done";
/// Writes in four ways to both file systems: synced; directly to the disk without a flush; only to the page cache;
/// and as a replaced file.
const WRITE: &str = "set -e
for at in /etc /var/lib; do
  cd $at
  echo kept > synced; sync synced; sync .
  yes new | head -c 4096 | dd of=direct bs=4096 count=1 conv=notrunc oflag=direct iflag=fullblock 2> /dev/null
  echo new > replaced.tmp; mv replaced.tmp replaced
  echo lost > unsynced
done";
const READ: &str = "for at in /etc /var/lib; do
  cd $at
  echo $at: synced=$(cat synced) direct=$(tr -d '\\0' < direct | head -n 1) \\
    unsynced=$(cat unsynced 2> /dev/null) replaced=$(cat replaced)
done";

fn power_cut_loses_what_is_not_synced(machines: &VirtualMachines, containerd: &Containerd) -> Result<(), Failed> {
    let mut machine = boot(machines, containerd)?;
    output_of(&mut machine, OLD)?;
    // The lower layer of a disk is complete, so each block from here on is written for the first time.
    let mut machine = machine.freeze()?.thaw()?;
    let boot_id = machine.read("/proc/sys/kernel/random/boot_id")?;
    output_of(&mut machine, WRITE)?;
    let began = Instant::now();
    let before = output_of(&mut machine, READ)?;
    let all = |at: &str| format!("{at}: synced=kept direct=new unsynced=lost replaced=new");
    assert_eq!(before, format!("{}\n{}", all("/etc"), all("/var/lib")));
    let pid = machine.pid();
    machine.cut()?;
    assert!(machine.run(&["true"]).is_err(), "a program ran without power");
    figure(containerd, "the power was cut", began);

    let began = Instant::now();
    machine.boot_again()?;
    machine.wait_cri(CRI)?;
    figure(containerd, "booted again, with CRI,", began);
    assert_ne!(machine.pid(), pid);
    assert_ne!(machine.read("/proc/sys/kernel/random/boot_id")?, boot_id);
    let left = |at: &str| format!("{at}: synced=kept direct= unsynced= replaced=old");
    assert_eq!(
        output_of(&mut machine, READ)?,
        format!("{}\n{}", left("/etc"), left("/var/lib"))
    );
    // The power cut was not an orderly end, and both file systems recovered.
    let log = output_of(&mut machine, "dmesg")?;
    assert!(log.contains("EXT4-fs (vda): recovery complete"), "{log}");
    assert!(log.contains("XFS (vdb): Ending recovery"), "{log}");
    for word in ["EXT4-fs error", "corrupt", "I/O error", "Call Trace"] {
        assert!(!log.contains(word), "{log}");
    }
    assert_eq!(output_of(&mut machine, "systemctl --failed --no-legend --plain")?, "");
    Ok(())
}

fn frozen_machine_continues(machines: &VirtualMachines, containerd: &Containerd) -> Result<(), Failed> {
    let mut machine = boot(machines, containerd)?;
    let facts = "cat /proc/sys/kernel/random/boot_id; systemctl show -p MainPID containerd";
    let before = output_of(&mut machine, facts)?;
    output_of(&mut machine, "echo here > /run/here; echo here > /etc/here")?;
    let began = Instant::now();
    let frozen = machine.freeze()?;
    figure(containerd, "frozen", began);

    let began = Instant::now();
    let mut one = frozen.thaw()?;
    figure(containerd, "thawed", began);
    let mut two = frozen.thaw()?;
    for machine in [&mut one, &mut two] {
        assert_eq!(output_of(machine, facts)?, before);
        assert_eq!(output_of(machine, "cat /run/here /etc/here")?, "here\nhere");
        machine.wait_cri(CRI)?;
    }
    // The two machines are independent, and a boot after a power cut starts from the disks.
    output_of(&mut one, "echo one > /etc/here; sync")?;
    one.cut()?;
    one.boot_again()?;
    assert_ne!(output_of(&mut one, facts)?, before);
    assert_eq!(
        output_of(&mut one, "cat /etc/here; ls /run/here 2> /dev/null || :")?,
        "one"
    );
    assert_eq!(output_of(&mut two, "cat /etc/here")?, "here");
    drop((one, two));
    in_the_middle_of_a_program(&frozen)
}

/// Checks that a program continues in each machine that continues from the same state, and that its end or its
/// progress is reported.
fn in_the_middle_of_a_program(frozen: &Arc<Frozen>) -> Result<(), Failed> {
    let seconds = Duration::from_secs;
    let script = "echo one >&2; sleep 3; echo two >&2; sleep 3; echo out; exit 3";
    let mut machine = frozen.thaw()?;
    machine.begin(&["sh", "-c", script])?;
    machine.said("one")?;
    let midway = machine.freeze_midway()?;

    let Ended { ran, took } = midway.thaw()?.ended()?;
    let Ran { code, stdout, stderr } = ran;
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (3, "out\n", "one\ntwo\n"));
    assert!(took >= seconds(6), "{took:?}");

    for (after, expected) in [
        (seconds(4), (None, "one\ntwo\n")),
        (seconds(8), (Some(3), "one\ntwo\n")),
    ] {
        let mut machine = midway.thaw()?;
        let CutOff { code, said } = machine.cut_in(after)?;
        assert_eq!((code, said.as_str()), expected, "{after:?}");
        assert_eq!(machine.pid(), None, "QEMU still runs");
    }
    Ok(())
}

fn dropped_machine_leaves_nothing(machines: &VirtualMachines, containerd: &Containerd) -> Result<(), Failed> {
    let machine = boot(machines, containerd)?;
    let process = format!("/proc/{}", machine.pid().ok_or("QEMU does not run")?);
    let folder = machine.folder().to_owned();
    assert!(std::fs::read_to_string(format!("{process}/cmdline"))?.contains("qemu"));
    assert!(folder.exists());
    drop(machine);
    assert!(!std::path::Path::new(&process).exists(), "QEMU still runs");
    assert!(!folder.exists(), "files are left");
    Ok(())
}
