//! Invalid input and faults on a running node, one test each: the exit code of the program, and the state of the
//! node after it.
//!
//! Further targets inject faults on every release: `cli_migrate_live` (killed, stopped, reset),
//! `systemd_kill_points`, `rehearsal`, `power_cuts`.

mod daemon; // faults of containerd, systemd and D-Bus
mod files; // faults of files and disks

use libtest_mimic::Failed;
use mirrorshift_tests::lab::NodeOptions;
use mirrorshift_tests::node_tests::{
    CONFIG, CRI, NodeTest, NodeTestContext, PROGRAM, ReleaseLines, TestNode, run_node_tests,
};
use std::process::{Child, ExitCode, Stdio};

const ONE: ReleaseLines = ReleaseLines::Only(&["1.7"]);

const TRIALS: [NodeTest; 40] = [
    ("rehearsal_rejects", ONE, daemon::rehearsal_rejects),
    ("image_that_must_be_pulled", ONE, daemon::image_that_must_be_pulled),
    (
        "rollback_that_no_longer_loads",
        ONE,
        files::rollback_that_no_longer_loads,
    ),
    ("fails_live_and_is_undone", ReleaseLines::All, daemon::fails_live),
    (
        "start_limit_is_hit_and_undone",
        ReleaseLines::Only(&["1.7", "2.4"]),
        daemon::start_limit,
    ),
    ("undone_before_is_not_tried_again", ONE, daemon::undone_before),
    (
        "import_that_appears",
        ReleaseLines::Only(&["1.7", "2.4"]),
        files::import_appears,
    ),
    (
        "edit_during_the_change_is_kept",
        ReleaseLines::Only(&["1.7", "2.4"]),
        files::edit_during_the_change_is_kept,
    ),
    ("bind_mounted_file", ONE, files::bind_mounted),
    ("read_only_file_system", ONE, files::read_only),
    ("link_out_of_the_folder", ONE, files::link_out),
    ("immutable_file", ONE, files::immutable),
    ("full_disk_of_the_journal", ONE, files::full_journal_disk),
    ("full_disk_of_the_configuration", ONE, files::full_configuration_disk),
    (
        "containers_would_be_killed",
        ReleaseLines::All,
        daemon::containers_would_be_killed,
    ),
    ("two_containerds", ONE, daemon::two_containerds),
    ("another_config_path", ONE, files::another_config),
    ("root_on_another_disk", ReleaseLines::All, files::another_root),
    ("root_file_and_drop_in", ReleaseLines::All, files::root_file_and_drop_in),
    ("unit_fails_already", ONE, daemon::unit_fails_already),
    ("slow_start", ReleaseLines::Only(&["2.1"]), daemon::slow_start),
    ("no_bus", ONE, daemon::no_bus),
    ("bus_goes_while_it_waits", ONE, daemon::bus_goes_while_it_waits),
    (
        "bus_goes_in_the_middle",
        ReleaseLines::Only(&["1.7", "2.4"]),
        daemon::bus_goes,
    ),
    ("bus_goes_and_it_is_undone", ONE, daemon::bus_goes_and_it_is_undone),
    ("containerd_is_stopped", ONE, daemon::containerd_is_stopped),
    ("containerd_hangs", ONE, daemon::containerd_hangs),
    ("cri_is_dead_of_something_else", ONE, daemon::cri_dead_otherwise),
    (
        "cri_is_dead_of_both_settings",
        ReleaseLines::All,
        daemon::cri_dead_of_both,
    ),
    ("noexec", ONE, files::noexec),
    (
        "pull_in_flight",
        ReleaseLines::Only(&["1.7", "2.4"]),
        daemon::pull_in_flight,
    ),
    ("two_at_once", ONE, daemon::two_at_once),
    ("corrupt_journal", ONE, files::corrupt_journal),
    ("reload_in_the_middle", ONE, daemon::reload_in_the_middle),
    (
        "sandbox_in_creation",
        ReleaseLines::Only(&["1.7", "2.4"]),
        daemon::sandbox_in_creation,
    ),
    ("less_space_than_every_write_needs", ONE, files::less_and_less_space),
    ("disk_of_the_journal_is_gone", ONE, files::journal_disk_is_gone),
    ("disk_of_the_journal_goes", ONE, files::journal_disk_goes),
    (
        "program_of_the_guard_deleted",
        ReleaseLines::Only(&["1.6", "2.4"]),
        daemon::guard_deleted,
    ),
    ("upgrade_in_the_middle", ONE, daemon::upgrade_in_the_middle),
];

fn main() -> ExitCode {
    run_node_tests(env!("CARGO_BIN_EXE_lab-run"), "fault_injection", &TRIALS)
}

/// Runs a script on a node, and checks that `migrate` then refuses for `reason` and changes nothing.
pub(crate) fn refused(
    context: &NodeTestContext,
    options: &NodeOptions,
    script: &str,
    reason: &str,
) -> Result<(), Failed> {
    let test_node = context.boot(options)?;
    test_node.node.run(&["sh", "-ec", script])?.ok()?;
    let before = test_node.node.read(CONFIG)?;
    refusal(&test_node, &[], reason)?;
    assert_eq!(test_node.node.read(CONFIG)?, before, "config.toml was changed");
    test_node.nothing_is_left("refused")
}

/// Checks that `migrate` refuses for `reason`.
pub(crate) fn refusal(test_node: &TestNode, more: &[&str], reason: &str) -> Result<(), Failed> {
    let ran = test_node.migrate(3, &[&["--output", "json"], more].concat())?;
    let document: serde_json::Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!(document["error"]["reason"], reason, "{}", ran.stdout);
    assert_eq!(document["exitCode"], 3);
    Ok(())
}

/// A download of containerd that continues until the test ends it.
pub(crate) struct Held<'l>(&'l TestNode);

impl<'l> Held<'l> {
    pub(crate) fn begin(test_node: &'l TestNode) -> Result<Self, Failed> {
        let script = "rm -f /run/end; (echo begun; until [ -e /run/end ]; do sleep 0.05; done) | \
            ctr -n k8s.io content ingest held";
        let unit = ["systemd-run", "--unit=held", "sh", "-c", script];
        test_node.node.run(&unit)?.ok()?;
        test_node.node.until("no download is in progress", CRI, || {
            let active = test_node
                .node
                .run(&["ctr", "-n", "k8s.io", "content", "active"])?
                .stdout;
            Ok(active.contains("held").then_some(()))
        })?;
        Ok(Self(test_node))
    }

    pub(crate) fn end(self) -> Result<(), Failed> {
        self.0.node.write("/run/end", "")?;
        Ok(())
    }
}

/// Starts `migrate` in the background.
pub(crate) fn background(test_node: &TestNode, more: &[&str]) -> Result<Child, Failed> {
    let mut child = test_node
        .node
        .command(&[&[PROGRAM, "migrate", "--yes"], more].concat())?;
    let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(child.spawn()?)
}

/// Waits until the change reports `step`.
pub(crate) fn reaches(test_node: &TestNode, step: &str) -> Result<(), Failed> {
    let look = format!("cat /run/mirrorshift/$(cat /run/mirrorshift/last)/events | grep -q '\"{step}\"'");
    test_node.node.until(&format!("the change is never {step}"), CRI, || {
        Ok((test_node.node.run(&["sh", "-c", &look])?.code == 0).then_some(()))
    })?;
    Ok(())
}

pub(crate) fn ended(child: Child, code: i32) -> Result<String, Failed> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(code) {
        return Ok(text);
    }
    Err(format!("ended with {:?} and not {code}: {text}", output.status).into())
}
