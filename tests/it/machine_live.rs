//! The program on machines with a kernel of their own, one hierarchy of control groups and `/etc` and `/var` on different file
//! systems: rehearsed, changed, killed, and taken back.

#![expect(clippy::print_stderr, reason = "a test program's output is its report")]

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Containerd, Machine, MachineOptions, Machines, Nodes};
use mirrorshift_tests::live::{CONFIG, Live, MIRRORS, PROGRAM, UNIT, small};
use mirrorshift_tests::{Tool, all_skipped, skipped};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The newest release: an emulator takes minutes for each.
const LINES: [&str; 1] = ["2.4"];
/// An emulator takes its time, on processors that others use too.
const CRI: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let machines = match Machines::open(env!("CARGO_BIN_EXE_lab-run")) {
        Ok(machines) => Arc::new(machines),
        Err(why) => return all_skipped("machine_live", &why.to_string()),
    };
    let program = match Tool::program().and_then(small) {
        Ok(program) => Arc::new(program),
        Err(error) => {
            eprintln!("there is no program to try: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = LINES.map(|line| {
        let name = format!("machine_live::{line}");
        match Nodes::containerd(line) {
            Ok(containerd) => {
                let (machines, program) = (Arc::clone(&machines), Arc::clone(&program));
                Trial::test(name, move || there_and_back(&machines, &containerd, &program))
            }
            Err(why) => skipped(&name, &why.to_string()),
        }
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn there_and_back(machines: &Machines, containerd: &Containerd, program: &Arc<PathBuf>) -> Result<(), Failed> {
    let old = Live::config(MIRRORS);
    let mut options = MachineOptions::default();
    options.programs.insert(PROGRAM.into(), program.to_path_buf());
    options.files.insert(CONFIG.into(), old.clone().into());
    let mut machine = machines.boot(containerd, &options)?;
    machine.wait_cri(CRI)?;
    let kind = machine.run(&["stat", "-fc", "%T", "/sys/fs/cgroup"])?.ok()?.stdout;
    assert_eq!(kind.trim(), "cgroup2fs");

    // An emulated processor needs more time than the usual deadlines give.
    let patient = ["--serve-within", "2m"];
    let change = |machine: &mut Machine, command: &str, code: i32| -> Result<String, Failed> {
        let ran = machine.run(&[&[PROGRAM, command, "--yes"][..], &patient].concat())?;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        if ran.code != code {
            let journal = machine.run(&["journalctl", "-b", "-n", "80", "--no-pager"])?.stdout;
            return Err(format!("{command} ended with {}: {said}\n{journal}", ran.code).into());
        }
        machine.wait_cri(CRI)?;
        let left = machine
            .run(&["sh", "-c", "ls /etc/systemd/system | grep mirrorshift"])?
            .stdout;
        assert_eq!(left, "", "after {command}");
        Ok(said)
    };
    let said = change(&mut machine, "migrate", 0)?;
    assert!(said.contains("rehearsed"), "{said}");
    let new = machine.read(CONFIG)?;
    assert!(new.contains("config_path") && !new.contains("mirrors"), "{new}");
    change(&mut machine, "migrate", 0)?;
    change(&mut machine, "rollback", 0)?;
    assert_eq!(machine.read(CONFIG)?, old);

    // Killed when the new files are in force: systemd has it undone.
    let kill = format!(
        "{PROGRAM} migrate --yes --serve-within 2m & until grep -q config_path {CONFIG}; do :; done; \
         systemctl kill --signal=SIGKILL {UNIT}; wait $!"
    );
    let ran = machine.run(&["sh", "-c", &kill])?;
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    machine.wait_cri(CRI)?;
    assert_eq!(machine.read(CONFIG)?, old);
    Ok(())
}
