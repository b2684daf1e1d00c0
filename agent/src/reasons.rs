//! Every `error.reason`, with its meaning and the next step. docs/refusals.md is made from this table.
//!
//! [`crate::error::CommandError`] accepts only the reasons of this table: with debug assertions, which every test has, another
//! one panics.

/// A stable name of an error.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "docs/refusals.md is made from them, by a test")
)]
pub(crate) struct ReasonEntry {
    pub(crate) name: &'static str,
    /// The group in docs/refusals.md.
    pub(crate) group: Group,
    pub(crate) meaning: &'static str,
    pub(crate) next_step: &'static str,
}

/// The groups of docs/refusals.md, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    CommandLine,
    Files,
    Node,
    Change,
    Agent,
}

#[cfg(test)]
impl Group {
    pub(crate) const ALL: [Self; 5] = [Self::CommandLine, Self::Files, Self::Node, Self::Change, Self::Agent];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CommandLine => "The command line and the policy",
            Self::Files => "The node's files",
            Self::Node => "The running node, before a change",
            Self::Change => "During and after a change",
            Self::Agent => "The agent",
        }
    }
}

const fn entry(group: Group, name: &'static str, meaning: &'static str, next_step: &'static str) -> ReasonEntry {
    ReasonEntry {
        name,
        group,
        meaning,
        next_step,
    }
}

/// Every reason.
#[rustfmt::skip]
pub(crate) const REASONS: &[ReasonEntry] = &[
    entry(Group::CommandLine, "arguments", "clap rejects the command line.", "Read `mirrorshift COMMAND --help`."),
    entry(Group::CommandLine, "flag", "The value of a flag is invalid, or the flag has no effect here.", "Correct or remove the flag that the message names."),
    entry(Group::CommandLine, "policy-file", "The policy file cannot be read or is invalid.", "Correct the line that the message names."),
    entry(Group::CommandLine, "image", "The argument of `explain` is neither an image nor a finding.", "Name the image as a pod does: `ghcr.io/org/app:1.2`."),
    entry(Group::CommandLine, "containerd-version", "The containerd version is missing, invalid or too old.", "Pass `--containerd-version`, such as `1.7.24`."),
    entry(Group::CommandLine, "config", "`--config` is not an absolute path, or does not exist.", "Pass the path that containerd's own `--config` has."),
    entry(Group::CommandLine, "root", "`--root` cannot be opened.", "Pass the directory that contains `etc/` and `usr/`."),
    entry(Group::CommandLine, "rehearse", "`--rehearse` was combined with `--root`.", "Run it on the node."),
    entry(Group::CommandLine, "consent", "The command needs confirmation, and there is no terminal.", "Pass `--yes`."),
    entry(Group::CommandLine, "declined", "The operator declined the confirmation.", "Nothing: no file was changed."),
    entry(Group::CommandLine, "not-root", "The command needs root.", "Run it with `sudo`."),
    entry(Group::CommandLine, "kernel", "The kernel has no `openat2`.", "Use Linux 5.6 or newer, outside seccomp filters that hide `openat2`."),
    entry(Group::CommandLine, "man", "The manual pages cannot be written.", "Check the directory."),

    entry(Group::Files, "unreadable", "containerd does not start with these files, or only some releases parse them.", "Fix the line that the message names."),
    entry(Group::Files, "too-much", "The configuration names too many files.", "Check `imports` and the directories under `config_path`."),
    entry(Group::Files, "registry-name", "A registry in the configuration has a name that no directory can have.", "Fix or remove the entry."),
    entry(Group::Files, "endpoint", "An endpoint cannot be written to a hosts.toml.", "Fix the endpoint."),
    entry(Group::Files, "wildcard-unsupported", "This containerd does not read `_default`, so the wildcard cannot be expressed.", "Upgrade to containerd 1.6.17 or newer, or pass `--wildcard drop`."),
    entry(Group::Files, "foreign-directory", "A hosts.toml that mirrorshift did not write is in the way.", "Remove it, or merge it by hand."),
    entry(Group::Files, "policy", "The policy cannot be applied to this node.", "Read the message: the policy leaves a registry without a host, or contradicts itself."),
    entry(Group::Files, "edit", "The configuration cannot be edited without changing other settings.", "Make the change that the message names by hand."),
    entry(Group::Files, "routes", "A route would change without a request. This is a defect of mirrorshift or a setting that it does not know.", "Report it with the two routes of the message."),
    entry(Group::Files, "owned", "A distribution writes the configuration, so an edit would be lost.", "Set the mirrors the way that the message names."),

    entry(Group::Node, "not-live", "The facts of the node cannot be gathered.", "Run the command on the node itself, with root."),
    entry(Group::Node, "unknown", "A fact that the change depends on is unknown.", "Find out why: access to D-Bus or a socket may be denied, or SELinux or AppArmor may forbid it."),
    entry(Group::Node, "old-systemd", "systemd is too old for the undo.", "Upgrade systemd, or use `--root` on an image."),
    entry(Group::Node, "loses-sandbox-addresses", "This containerd loses the addresses of its sandboxes at a restart.", "Upgrade containerd first."),
    entry(Group::Node, "no-daemon", "No containerd runs.", "Start it."),
    entry(Group::Node, "many-daemons", "Several containerd processes run on the node.", "Stop the others."),
    entry(Group::Node, "not-under-systemd", "containerd is not the main process of a systemd unit.", "Run containerd as a unit."),
    entry(Group::Node, "other-file", "containerd runs with another configuration file.", "Pass that file with `--config`."),
    entry(Group::Node, "kills-containers", "A restart of the unit would kill containers, because of its `KillMode`.", "Set `KillMode=process`, or drain the node and pass `--accept-restart-of-containers`."),
    entry(Group::Node, "unit-down", "The unit of containerd is not active.", "Start it."),
    entry(Group::Node, "unit-troubled", "The unit failed or restarted by itself a short while ago.", "Find the cause with `journalctl -u containerd`."),
    entry(Group::Node, "newer-than-daemon", "A file was written after containerd started, so containerd runs with other contents.", "Restart containerd yourself, then run the command again."),
    entry(Group::Node, "mounted", "A file is a mount point.", "Change the file in the place that is mounted."),
    entry(Group::Node, "protected", "A file is immutable or append-only.", "Remove the attribute with `chattr`."),
    entry(Group::Node, "read-only", "A file is on a read-only file system.", "Change the image of the node."),
    entry(Group::Node, "volatile", "A file is on a file system that a reboot empties.", "Change the image of the node."),
    entry(Group::Node, "outside", "A file is not in a directory of containerd.", "Move the file, or change its link."),
    entry(Group::Node, "space", "Too little space is left for the change and its undo.", "Free the space that the message names."),
    entry(Group::Node, "cri-dead", "CRI is not ready, and the plan does not repair it.", "Repair CRI first: `mirrorshift check`."),
    entry(Group::Node, "busy", "Pulls or systemd jobs did not end within `--wait`.", "Run the command again when they have ended."),
    entry(Group::Node, "containerd-upgraded", "The running containerd is not the installed one.", "Restart containerd first, so that the upgrade and the migration are separate."),
    entry(Group::Node, "not-rehearsed", "The rehearsal could not run.", "Read the message: the sandbox lacks something."),
    entry(Group::Node, "rehearsal", "The node's own containerd does not behave as planned.", "Report it. Nothing was changed."),
    entry(Group::Node, "sandbox", "The program in the sandbox of a rehearsal failed.", "Read the message."),
    entry(Group::Node, "undone-before", "The same plan was undone before.", "Fix the cause, then run the command again with `--again`."),
    entry(Group::Node, "changed-meanwhile", "The files changed after the plan was shown.", "Run `mirrorshift plan` again."),
    entry(Group::Node, "unfinished", "A change of the running containerd is unfinished.", "Run the command without `--no-restart`."),

    entry(Group::Change, "locked", "Another process holds the lock.", "Wait for it: `mirrorshift status --follow`."),
    entry(Group::Change, "journal", "The journal cannot be read or trusted.", "Compare the files with the originals in `/var/lib/mirrorshift/changes`, then move the journal away."),
    entry(Group::Change, "state", "The directory /var/lib/mirrorshift cannot be used.", "Run with `sudo`; check owner, mode and space."),
    entry(Group::Change, "io", "A file cannot be read or written.", "Run with `sudo`; check for `chattr +i`, full file systems and security modules."),
    entry(Group::Change, "node", "A file of the node cannot be read.", "Read the message."),
    entry(Group::Change, "unsuitable-file", "A file has a property that an atomic replacement would lose.", "Remove the property that the message names."),
    entry(Group::Change, "edited-by-others", "Another program modified a file after the migration, so it is not overwritten.", "Restore the contents that the message names, or undo the modification by hand."),
    entry(Group::Change, "backup", "The copy of an original file is damaged.", "Restore the file by hand."),
    entry(Group::Change, "leftover", "An unexpected file is next to a file of the plan.", "Remove the file that the message names."),
    entry(Group::Change, "no-space", "The file system is full.", "Free some space."),
    entry(Group::Change, "stuck", "An earlier undo failed.", "Repair the node by hand: docs/runbook.md."),
    entry(Group::Change, "systemd", "systemd does not answer or refuses a job.", "Check `systemctl status`."),
    entry(Group::Change, "containerd", "containerd does not serve as before. The change was undone.", "Read `journalctl -u containerd`."),
    entry(Group::Change, "change", "The change did not come to an end.", "Read `mirrorshift status`."),
    entry(Group::Change, "ended", "The unit of the change ended without a result.", "Read `journalctl -u mirrorshift-change`, then run the command again."),
    entry(Group::Change, "purge", "Not every file of mirrorshift was deleted.", "Read the message."),
    entry(Group::Change, "order", "The unit of a change has no request.", "Do not start the unit by hand."),
    entry(Group::Change, "question", "The unit of an observation has no request.", "Do not start the unit by hand."),

    entry(Group::Agent, "agent", "The agent cannot start or cannot wait for signals.", "Read the message."),
    entry(Group::Agent, "cluster", "The agent cannot use the Kubernetes API.", "Check the service account and RBAC of manifests/."),
    entry(Group::Agent, "listen", "The agent cannot listen on its address.", "Pass another address with `--listen`."),
    entry(Group::Agent, "look", "The observation of the node ended without a result.", "Read `journalctl -u mirrorshift-facts` on the node."),
];

/// True for a reason of the table.
pub(crate) fn is_known(reason: &str) -> bool {
    REASONS.iter().any(|entry| entry.name == reason)
}

#[cfg(test)]
mod tests {
    use super::{Group, REASONS, is_known};
    use mirrorshift_plan::RefusalReason;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;

    /// Every reason that a literal in the source names is in the table. The constructor checks the others when they occur.
    #[test]
    fn every_reason_in_the_source_is_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![root];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let calls = text
                    .split("CommandError::new(")
                    .chain(text.split("CommandError::usage("));
                for call in calls.skip(1) {
                    // The reason is the first literal within the first two arguments.
                    let arguments: String = call.splitn(3, ',').take(2).collect();
                    let Some(reason) = arguments.split('"').nth(1) else {
                        continue;
                    };
                    if reason.contains(' ') || reason.is_empty() || reason.contains('{') {
                        continue;
                    }
                    assert!(is_known(reason), "{}: `{reason}` is not in REASONS", path.display());
                    found += 1;
                }
            }
        }
        assert!(found > 40, "only {found} reasons were found");
    }

    #[test]
    fn reasons_of_refusals_and_obstacles_are_in_the_table() {
        for reason in RefusalReason::ALL {
            assert!(is_known(reason.as_str()), "{}", reason.as_str());
        }
        let source = include_str!("../../crates/plan/src/preflight/obstacle.rs");
        let ids = source
            .split("fn id(")
            .nth(1)
            .unwrap()
            .split("\n    }\n")
            .next()
            .unwrap();
        let ids: Vec<&str> = ids
            .split("=> \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(ids.len() > 15, "{ids:?}");
        for id in ids {
            assert!(is_known(id), "{id}");
        }
    }

    /// With `MIRRORSHIFT_UPDATE=1` the test writes the page in place of comparing it.
    #[test]
    fn refusals_page_is_made_from_the_table() {
        let mut page = String::from(
            "# Reasons of errors\n\nEvery `error.reason` of `-o json`, of a NodeMirror's condition and of an Event. A reason never \
             changes its name. The exit code states the\nresult for the files: 2 and 3 nothing was changed, 4 the original files \
             were restored, 5 an operator must repair the\nnode.\n\nThis page is made from `agent/src/reasons.rs`.\n",
        );
        for group in Group::ALL {
            let title = group.title();
            writeln!(
                page,
                "\n## {title}\n\n| reason | meaning | next step |\n| --- | --- | --- |"
            )
            .unwrap();
            for entry in REASONS.iter().filter(|entry| entry.group == group) {
                writeln!(page, "| `{}` | {} | {} |", entry.name, entry.meaning, entry.next_step).unwrap();
            }
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md");
        if std::env::var_os("MIRRORSHIFT_UPDATE").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let published = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == page,
            "docs/refusals.md is out of date: run this test with MIRRORSHIFT_UPDATE=1"
        );
        let mut names: Vec<&str> = REASONS.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len(), "a reason occurs twice");
    }
}
