//! What the agent asks of the node that it runs on. All of it is done on the host by units of its systemd; the agent itself reads
//! nothing there but their answers.

use crate::change_run::progress::RunResult;
use crate::change_run::request::ChangeRequest;
use crate::change_run::{follow, start};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::observe::observation::{NodeObservation, Refused};
use crate::observe::observe_unit::{ObservationGoal, ObservationRequest};
use mirrorshift_node::{Bus, BusError, Exec, PROGRAM, Property, Root};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The unit of a look.
const FACTS: &str = "mirrorshift-facts.service";
/// For a look with its rehearsals. One without takes a tenth of a second.
const LOOK: Duration = Duration::from_mins(3);
/// For systemd around it.
const AROUND: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// The node, as the agent knows it.
pub(crate) trait NodeOps {
    /// Looks at it, and plans for `goal`.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    async fn look(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, Refused>;

    /// Makes a change and waits for its end.
    ///
    /// # Errors
    /// It could not be started. What came of one that was is in its [`End`].
    async fn change(&self, order: ChangeRequest) -> Result<RunResult, Refused>;

    /// Waits until no change is under way.
    async fn settle(&self);
}

/// The machine that the agent's pod is on.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode {
    /// Where containerd's configuration starts.
    config: Arc<str>,
    /// This very program is there.
    installed: Arc<AtomicBool>,
}

impl LocalNode {
    pub(crate) fn new(config: &str) -> Self {
        Self {
            config: config.into(),
            installed: Arc::default(),
        }
    }

    /// Puts this program where systemd starts it from. While a change is under way the one that is there stays.
    fn install(&self, root: &Root) -> Result<(), CommandError> {
        if self.installed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match start::install(root) {
            Ok(()) => self.installed.store(true, Ordering::Relaxed),
            Err(failure) if failure.exit == Exit::Locked => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn look_now(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, Refused> {
        let question = ObservationRequest {
            id: format!("look-{}", crate::change_id::ChangeId::generate().name),
            goal,
            config: self.config.to_string(),
            rehearse,
        };
        let asked = Root::open("/").map_err(CommandError::from).and_then(|root| {
            self.install(&root)?;
            question.write()?;
            let bus = Bus::connect(AROUND)?;
            match bus.start_transient(FACTS, &properties(&question.id), LOOK + AROUND) {
                // How it ended is in its answer.
                Ok(()) | Err(BusError::Job { .. } | BusError::Unseen { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        });
        let answer = question.answer();
        asked.map_err(|failure| Refused::of(&failure)).and(answer)
    }
}

impl NodeOps for LocalNode {
    async fn look(&self, goal: ObservationGoal, rehearse: bool) -> Result<NodeObservation, Refused> {
        let machine = self.clone();
        on_its_own(move || machine.look_now(goal, rehearse)).await?
    }

    async fn change(&self, order: ChangeRequest) -> Result<RunResult, Refused> {
        on_its_own(move || {
            let root = Root::open("/").map_err(|error| Refused::of(&error.into()))?;
            start::start(&root, &order).map_err(|failure| Refused::of(&failure))?;
            let within = order.limits.change() + order.limits.undo() + AROUND;
            follow::read_result(&order.id, within).ok_or_else(|| Refused {
                exit: Exit::Unexpected,
                reason: "ended".to_owned(),
                message: "the change ended and left no word".to_owned(),
                hint: Some("`journalctl -u mirrorshift-change` on the node has more".to_owned()),
            })
        })
        .await?
    }

    async fn settle(&self) {
        // Longer than any change takes that somebody else has ordered; looked for again after that.
        let within = Duration::from_mins(30);
        on_its_own(move || follow::follow_to_end(within)).await.ok();
    }
}

/// Calls to systemd block, so they have a thread of their own.
async fn on_its_own<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Refused {
        exit: Exit::Unexpected,
        reason: "panicked".to_owned(),
        message: error.to_string(),
        hint: None,
    })
}

fn properties(run: &str) -> Vec<Property> {
    vec![
        Property::Description("Look at containerd's registry configuration".to_owned()),
        Property::Type("oneshot"),
        Property::CollectMode("inactive-or-failed"),
        Property::ExecStart(Exec {
            path: PROGRAM.to_owned(),
            argv: [PROGRAM, "look", run].map(str::to_owned).to_vec(),
            may_fail: false,
        }),
        Property::TimeoutStartSec(LOOK),
        // One that is stopped answers to nothing else.
        Property::KillSignal(SIGKILL),
    ]
}
