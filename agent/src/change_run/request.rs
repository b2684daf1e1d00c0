//! What a unit is to do, as a file that outlives whoever wrote it.

use crate::change_run::run_dir;
use crate::error::CommandError;
use crate::node::{NodeSource, PolicySource};
use mirrorshift_plan::Digest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const NAME: &str = "order.json";

/// What a unit is to do. No `Debug`: a policy may hold passwords.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    /// The run, and the change that it may make.
    pub(crate) id: String,
    pub(crate) task: ChangeKind,
    /// Where containerd's configuration starts.
    pub(crate) config: String,
    /// The version to plan for, when it was given.
    pub(crate) containerd_version: Option<String>,
    /// Try a plan that was undone before.
    pub(crate) again: bool,
    /// A restart may kill containers.
    pub(crate) containers_may_restart: bool,
    /// An image that must be pulled well for the change to settle.
    pub(crate) verify_image: Option<String>,
    pub(crate) limits: ChangeTimeouts,
}

/// Which change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) enum ChangeKind {
    /// To what a policy wants.
    Migrate {
        wanted: PolicySource,
        /// The plan that was shown. Nothing when an unfinished change has to be undone first.
        expects: Option<Digest>,
    },
    /// Back to the bytes of before.
    Rollback,
    /// What was migrated, where somebody wrote over it and no restart is needed.
    Mend,
}

/// How long what may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeTimeouts {
    /// For pulls and other jobs to end, before anything is touched.
    pub(crate) quiet: Duration,
    /// From a restart until containerd serves as before.
    pub(crate) serve: Duration,
    /// For systemd's restart of containerd.
    pub(crate) restart: Duration,
    /// For the pull of the image that was named.
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
    /// For a whole change. What hangs longer is killed and undone.
    pub(crate) fn change(self) -> Duration {
        self.quiet + Duration::from_mins(3) + self.restart + 2 * self.serve + self.pull + self.undo()
    }

    /// For an undo: two restarts at most, each followed by a look that may take twice the time of one.
    pub(crate) fn undo(self) -> Duration {
        2 * (self.restart + 2 * self.serve) + Duration::from_secs(30)
    }
}

impl ChangeRequest {
    /// Puts it where the unit looks for it.
    pub(crate) fn write(&self) -> Result<(), CommandError> {
        run_dir::make(&self.id)?;
        // Nothing in it that JSON cannot say.
        let text = serde_json::to_vec(self).unwrap_or_default();
        run_dir::replace(&run_dir::path(&self.id, NAME), &text).map_err(|error| run_dir::failed("write to", &error))
    }

    /// Reads the one of a run.
    pub(crate) fn read(run: &str) -> Result<Self, CommandError> {
        let unreadable = |why: String| CommandError::usage("order", format!("the run `{run}` has no order: {why}"));
        let bytes = std::fs::read(run_dir::path(run, NAME)).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
    }

    /// Returns the files to read: those of the running machine.
    pub(crate) fn node_source(&self) -> NodeSource {
        NodeSource::live(self.config.clone(), self.containerd_version.clone())
    }
}
