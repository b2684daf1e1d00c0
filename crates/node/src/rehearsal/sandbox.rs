//! The transient unit of a sandbox: it can read the node's files, write nothing on the node, and reach no network.

use crate::rehearsal::request::SandboxTimeouts;
use crate::systemd::transient::{Exec, Property};

/// The memory limit in bytes: twice what a containerd without images needs, including the copies in memory.
const MEMORY: u64 = 1 << 30;

/// The parts of a sandbox.
#[derive(Debug)]
pub(super) struct SandboxUnit {
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    /// Folders that are empty and private.
    pub(super) private: Vec<String>,
    /// Folders that cannot be read, with systemd's prefix for a path that may be missing.
    pub(super) inaccessible: Vec<String>,
    /// Pairs of source and destination that are mounted read-only.
    pub(super) read_only: Vec<(String, String)>,
    /// The folder of the request and the response.
    pub(super) shared: String,
}

impl SandboxUnit {
    /// Returns the properties of the transient service. Its type is `oneshot`, so that the start job ends when the
    /// response is there. systemd limits the start of such a service, but not its run.
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
            // A stopped process reacts to no other signal.
            Property::KillSignal(9),
            Property::PrivateNetwork(true),
            Property::PrivateMounts(true),
            Property::PrivateTmp(true),
            Property::ProtectSystem("strict"),
            // With `[cgroup] path`, containerd would move into the control group of the running one.
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
