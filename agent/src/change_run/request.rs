//! The request of a change: a file that outlives the process that wrote it.

use crate::change_run::run_dir;
use crate::error::CommandError;
use crate::node::{NodeSource, PolicySource};
use mirrorshift_plan::Digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A change that the change unit is to make. No `Debug`: a policy may hold passwords.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    /// The identifier of the run, and of the change that it may make.
    pub(crate) id: String,
    pub(crate) task: ChangeKind,
    /// The path of containerd's root configuration file.
    pub(crate) config: String,
    /// The version to plan for; the installed one when it is not given.
    pub(crate) containerd_version: Option<String>,
    /// Make the change although the same plan was undone before.
    pub(crate) again: bool,
    /// Make the change although the restart kills containers.
    pub(crate) containers_may_restart: bool,
    /// An image that must be pulled successfully before the change settles.
    pub(crate) verify_image: Option<String>,
    pub(crate) limits: ChangeTimeouts,
}

/// The kind of a change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum ChangeKind {
    /// Makes the node match a policy.
    Migrate {
        wanted: PolicySource,
        /// The plan that was shown. None when an unfinished change has to be undone first, because the plan is then
        /// another.
        expects: Option<Digest>,
    },
    /// Restores the original files.
    Rollback,
    /// Restores the migrated files that another program has modified, where that needs no restart.
    Repair,
}

/// Timeouts of the parts of a change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeTimeouts {
    /// Until pulls and other jobs of the node have ended, before anything is changed.
    pub(crate) quiet: Duration,
    /// From a restart until containerd serves as before.
    pub(crate) serve: Duration,
    /// systemd's restart of containerd.
    pub(crate) restart: Duration,
    /// The pull of the image to verify.
    pub(crate) pull: Duration,
}

impl Default for ChangeTimeouts {
    fn default() -> Self {
        Self {
            quiet: Duration::from_mins(2),
            serve: Duration::from_secs(20),
            restart: Duration::from_secs(90),
            pull: Duration::from_mins(2),
        }
    }
}

impl ChangeTimeouts {
    /// The timeout of a whole change. A change that takes longer is killed and undone.
    pub(crate) fn change(self) -> Duration {
        self.quiet + Duration::from_mins(3) + self.restart + 2 * self.serve + self.pull + self.undo()
    }

    /// The timeout of an undo: at most two restarts, each followed by a check that may take twice `serve`.
    pub(crate) fn undo(self) -> Duration {
        2 * (self.restart + 2 * self.serve) + Duration::from_secs(30)
    }
}

impl ChangeRequest {
    /// Writes the request to the folder of its run.
    pub(crate) fn write(&self) -> Result<(), CommandError> {
        run_dir::make(&self.id)?;
        // The type has no value that JSON cannot represent.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let path = run_dir::path(&self.id, run_dir::REQUEST);
        run_dir::replace(&path, &text).map_err(|error| run_dir::failed("write to", &error))
    }

    /// Reads the request of a run.
    pub(crate) fn read(run: &str) -> Result<Self, CommandError> {
        let unreadable = |cause: String| {
            CommandError::usage("order", format!("cannot read the request of the run `{run}`: {cause}"))
        };
        let text =
            std::fs::read(run_dir::path(run, run_dir::REQUEST)).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))
    }

    /// Returns the files to read: those of the running machine.
    pub(crate) fn node_source(&self) -> NodeSource {
        NodeSource::live(self.config.clone(), self.containerd_version.clone())
    }
}
