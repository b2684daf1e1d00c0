//! The operations of the agent on its node. Units of the host's systemd perform them; the agent itself only reads their
//! results.

use crate::change_run::failure_summary::FailureSummary;
use crate::change_run::progress::RunResult;
use crate::change_run::request::ChangeRequest;
use crate::change_run::{follow, start};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::observe::observation::NodeObservation;
use crate::observe::observe_unit::{ObservationGoal, ObservationRequest};
use mirrorshift_node::{Bus, BusError, Exec, PROGRAM, Property, Root};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The observing unit.
const OBSERVING_UNIT: &str = "mirrorshift-facts.service";
/// The timeout of an observation with a rehearsal. One without takes a tenth of a second.
const OBSERVATION: Duration = Duration::from_mins(3);
/// The time for systemd's part of an operation.
const SYSTEMD: Duration = Duration::from_secs(10);
/// Longer than any change that another process has requested. After it the agent observes the node again.
const LONGEST_CHANGE: Duration = Duration::from_mins(30);
const SIGKILL: i32 = 9;

/// The node of an agent.
pub(crate) trait NodeOps {
    /// Observes the node and plans for `goal`.
    ///
    /// # Errors
    /// Why it cannot be observed.
    async fn observe(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, FailureSummary>;

    /// Makes a change and waits for its end.
    ///
    /// # Errors
    /// Why the change could not be started. The failure of a started change is in its [`RunResult`].
    async fn change(&self, request: ChangeRequest) -> Result<RunResult, FailureSummary>;

    /// Waits until no change is in progress.
    async fn wait_for_change(&self);
}

/// The node on which the agent's pod runs.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode {
    /// The path of containerd's root configuration file.
    config: Arc<str>,
    /// The installed program is a copy of this program.
    installed: Arc<AtomicBool>,
}

impl LocalNode {
    pub(crate) fn new(config: &str) -> Self {
        Self {
            config: config.into(),
            installed: Arc::default(),
        }
    }

    /// Installs this program at the path from which systemd starts it. A change in progress keeps the installed one.
    fn install(&self, root: &Root) -> Result<(), CommandError> {
        if self.installed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match start::install(root) {
            Ok(()) => self.installed.store(true, Ordering::Relaxed),
            Err(error) if error.exit == Exit::Locked => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn observe_blocking(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, FailureSummary> {
        let request = ObservationRequest {
            id: format!("look-{}", crate::change_id::ChangeId::generate().name),
            goal,
            config: self.config.to_string(),
            rehearse,
        };
        let ran = Root::open("/").map_err(CommandError::from).and_then(|root| {
            self.install(&root)?;
            request.write()?;
            let bus = Bus::connect(SYSTEMD)?;
            match bus.start_transient(OBSERVING_UNIT, &properties(&request.id), OBSERVATION + SYSTEMD) {
                // The result file has the failure of the unit.
                Ok(()) | Err(BusError::Job { .. } | BusError::ResultMissed { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        let observation = request.take_observation();
        ran.map_err(|error| FailureSummary::from(&error)).and(observation)
    }
}

impl NodeOps for LocalNode {
    async fn observe(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, FailureSummary> {
        let node = self.clone();
        run_blocking(move || node.observe_blocking(goal, rehearse)).await?
    }

    async fn change(&self, request: ChangeRequest) -> Result<RunResult, FailureSummary> {
        run_blocking(move || {
            let root = Root::open("/").map_err(|error| FailureSummary::from(&CommandError::from(error)))?;
            start::start(&root, &request).map_err(|error| FailureSummary::from(&error))?;
            let timeout = request.limits.change() + request.limits.undo() + SYSTEMD;
            follow::read_result(&request.id, timeout).ok_or_else(|| FailureSummary {
                exit: Exit::Unexpected,
                reason: "ended".to_owned(),
                message: "the change ended without reporting a result".to_owned(),
                hint: Some("read `journalctl -u mirrorshift-change` on the node".to_owned()),
            })
        })
        .await?
    }

    async fn wait_for_change(&self) {
        run_blocking(move || follow::follow_to_end(LONGEST_CHANGE)).await.ok();
    }
}

/// Runs blocking calls to systemd on a thread for them.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FailureSummary> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| FailureSummary {
        exit: Exit::Unexpected,
        reason: "panicked".to_owned(),
        message: error.to_string(),
        hint: None,
    })
}

fn properties(run: &str) -> Vec<Property> {
    vec![
        Property::Description("Observation of containerd's registry configuration".to_owned()),
        Property::Type("oneshot"),
        Property::CollectMode("inactive-or-failed"),
        Property::ExecStart(Exec {
            path: PROGRAM.to_owned(),
            argv: [PROGRAM, "look", run].map(str::to_owned).to_vec(),
            may_fail: false,
        }),
        Property::TimeoutStartSec(OBSERVATION),
        // A process that is stopped (SIGSTOP) reacts to no other signal.
        Property::KillSignal(SIGKILL),
    ]
}
