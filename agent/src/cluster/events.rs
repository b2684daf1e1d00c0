//! Events on the Node, for whoever reads `kubectl describe node`. They tell what happened; what is true stands in conditions.

use crate::cluster::backoff::Jitter;
use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::cut;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Events of objects without a namespace stand in this one, which the API server insists on.
pub const NAMESPACE: &str = "default";
/// Who reports, as it stands in each event.
pub const REPORTER: &str = "mirrorshift.dev/agent";

/// How long the same is not said again.
const SILENCE: Duration = Duration::from_hours(1);
/// How many events one agent may make in that time. More would be a storm, and conditions tell the end of it.
const MOST: usize = 20;
/// The API server's bound, in bytes, for the text of an event.
const LONGEST_NOTE: usize = 1024;

/// What happened. The name of each is the reason of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A change of the node has begun.
    MigrationStarted,
    /// It settled.
    MigrationDone,
    /// It failed and was undone.
    MigrationUndone,
    /// The node cannot be changed as it is.
    MigrationRefused,
    /// An undo failed, and a person is needed.
    MigrationStuck,
    /// A change was taken back, as the policy asked.
    RolledBack,
    /// This node's failure keeps a slot, or this node waits for such a slot.
    FleetHalted,
    /// A hosts.toml that somebody changed was put right.
    DriftRepaired,
    /// Somebody changes it again and again.
    DriftFight,
    /// The policy cannot be read.
    PolicyInvalid,
}

impl EventReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::MigrationStarted,
        Self::MigrationDone,
        Self::MigrationUndone,
        Self::MigrationRefused,
        Self::MigrationStuck,
        Self::RolledBack,
        Self::FleetHalted,
        Self::DriftRepaired,
        Self::DriftFight,
        Self::PolicyInvalid,
    ];

    /// As it stands in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::MigrationStarted => "MigrationStarted",
            Self::MigrationDone => "MigrationDone",
            Self::MigrationUndone => "MigrationUndone",
            Self::MigrationRefused => "MigrationRefused",
            Self::MigrationStuck => "MigrationStuck",
            Self::RolledBack => "RolledBack",
            Self::FleetHalted => "FleetHalted",
            Self::DriftRepaired => "DriftRepaired",
            Self::DriftFight => "DriftFight",
            Self::PolicyInvalid => "PolicyInvalid",
        }
    }

    /// Whether somebody should look.
    fn is_warning(self) -> bool {
        match self {
            Self::MigrationStarted | Self::MigrationDone | Self::RolledBack | Self::DriftRepaired => false,
            Self::MigrationUndone
            | Self::MigrationRefused
            | Self::MigrationStuck
            | Self::FleetHalted
            | Self::DriftFight
            | Self::PolicyInvalid => true,
        }
    }

    /// What was being done, as the API wants to know besides.
    fn action(self) -> &'static str {
        match self {
            Self::MigrationStarted
            | Self::MigrationDone
            | Self::MigrationUndone
            | Self::MigrationRefused
            | Self::MigrationStuck => "Migrate",
            Self::RolledBack => "RollBack",
            Self::FleetHalted => "Wait",
            Self::DriftRepaired | Self::DriftFight => "Repair",
            Self::PolicyInvalid => "ReadPolicy",
        }
    }
}

/// Makes events on one Node.
#[derive(Debug)]
pub struct Events {
    cluster: ApiClient,
    api: Api<Event>,
    owner: NodeIdentity,
    /// What was said within the hour, oldest first.
    said: VecDeque<(Instant, EventReason, String)>,
    names: Jitter,
}

impl Events {
    /// Asks nothing yet.
    pub fn new(cluster: ApiClient, owner: NodeIdentity) -> Self {
        Self {
            api: Api::namespaced(cluster.client(), NAMESPACE),
            cluster,
            owner,
            said: VecDeque::new(),
            names: Jitter::from_os(),
        }
    }

    /// Says what happened, unless the same was said within the hour or too much was. Whether it is told: no when there was too much.
    ///
    /// `note` is one or two sentences, masked by whoever made them.
    ///
    /// # Errors
    ///
    /// That of the call. An event that was not made is no reason to stop: conditions say the same.
    pub async fn publish(&mut self, happened: EventReason, note: &str, now: Timestamp) -> Result<bool, Error> {
        let clock = Instant::now();
        while self
            .said
            .front()
            .is_some_and(|(at, ..)| clock.duration_since(*at) >= SILENCE)
        {
            self.said.pop_front();
        }
        let same = |(_, what, said): &(Instant, EventReason, String)| *what == happened && said == note;
        if self.said.iter().any(same) {
            return Ok(true);
        }
        if self.said.len() >= MOST {
            return Ok(false);
        }
        let event = self.event(happened, note, now);
        let params = PostParams::default();
        let doing = format!("make an Event {}", happened.name());
        // Its name is its own, so that one which is there already is this one.
        let made = self
            .cluster
            .call(&doing, RetrySafety::Idempotent, || self.api.create(&params, &event))
            .await;
        match made {
            Ok(_) => {}
            Err(error) if error.kind == ApiErrorKind::Exists => {}
            Err(error) => return Err(error),
        }
        self.said.push_back((clock, happened, note.to_owned()));
        Ok(true)
    }

    fn event(&self, happened: EventReason, note: &str, now: Timestamp) -> Event {
        // Characters of up to four bytes each; the sign that something was cut has three.
        let most = if note.is_ascii() {
            LONGEST_NOTE - 2
        } else {
            LONGEST_NOTE / 4
        };
        let mut text = note.to_owned();
        cut(&mut text, most);
        let kind = if happened.is_warning() { "Warning" } else { "Normal" };
        // Names of Nodes have up to 253 characters, as names of events.
        let number = self.names.duration_up_to(Duration::from_nanos(u64::MAX)).as_nanos();
        let stem: String = self.owner.name.chars().take(220).collect();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{number:016x}", stem.trim_end_matches(['.', '-']))),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(happened.action().to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(text),
            reason: Some(happened.name().to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(self.owner.name.clone()),
                uid: Some(self.owner.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.owner.name.chars().take(128).collect()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }
}
