//! The sandbox as systemd makes it: everything of the node can be read, nothing can be written, nobody can be reached.

use crate::rehearsal::request::SandboxTimeouts;
use crate::systemd::transient::{Exec, Property};

/// Twice what a containerd without images needs, the copies in memory included: bytes.
const MEMORY: u64 = 1 << 30;

/// What one sandbox is made of.
#[derive(Debug)]
pub(super) struct SandboxUnit {
    /// The program and its words.
    pub(super) command: Vec<String>,
    /// Folders that are empty and its own.
    pub(super) private: Vec<String>,
    /// Folders that nothing can be read in, each with the `-` of one that may be missing.
    pub(super) inaccessible: Vec<String>,
    /// Source and destination.
    pub(super) read_only: Vec<(String, String)>,
    /// The folder that the answer is written to.
    pub(super) shared: String,
}

impl SandboxUnit {
    /// As a transient service. `oneshot`, so that the start's job is over when the answer is there; its start is then bounded
    /// and not its run, which systemd does not look at for such a service.
    pub(super) fn properties(self, times: &SandboxTimeouts) -> Vec<Property> {
        let path = self.command.first().cloned().unwrap_or_default();
        vec![
            Property::Description("Rehearsal of a change of containerd's files".to_owned()),
            Property::Type("oneshot"),
            Property::ExecStart(Exec {
                path,
                argv: self.command,
                may_fail: false,
            }),
            Property::CollectMode("inactive-or-failed"),
            Property::AddRef(true),
            Property::TimeoutStartSec(times.whole),
            // A process that is stopped answers to nothing else.
            Property::KillSignal(9),
            Property::PrivateNetwork(true),
            Property::PrivateMounts(true),
            Property::PrivateTmp(true),
            Property::ProtectSystem("strict"),
            // With `[cgroup] path` a containerd moves into the control group of the running one.
            Property::ProtectControlGroups(true),
            Property::TemporaryFileSystem(
                self.private
                    .into_iter()
                    .map(|path| (path, "mode=0755".to_owned()))
                    .collect(),
            ),
            Property::InaccessiblePaths(self.inaccessible),
            Property::BindReadOnlyPaths(self.read_only),
            Property::BindPaths(vec![(self.shared.clone(), self.shared)]),
            Property::MemoryMax(MEMORY),
            Property::StandardOutput("null"),
            Property::StandardError("journal"),
            Property::SyslogIdentifier("mirrorshift-rehearsal".to_owned()),
        ]
    }
}
