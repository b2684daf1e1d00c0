//! Events on the Node, which `kubectl describe node` shows. They report what happened; conditions report the current
//! state.

use crate::cluster::backoff::Jitter;
use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::truncate;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The namespace of Events of objects without a namespace, as the API server requires.
pub const NAMESPACE: &str = "default";
/// The reporting controller of each Event.
pub const REPORTER: &str = "mirrorshift.dev/agent";

/// The time within which the same Event is not repeated.
const REPEAT_AFTER: Duration = Duration::from_hours(1);
/// The most Events of one agent within that time. More would be a burst, whose end result is in the conditions.
const MAX_EVENTS: usize = 20;
/// The API server's limit for the note of an Event, in bytes.
const LONGEST_NOTE: usize = 1024;

/// The reason of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A change of the node started.
    MigrationStarted,
    /// The change settled.
    MigrationDone,
    /// The change failed and was undone.
    MigrationUndone,
    /// The node cannot be changed.
    MigrationRefused,
    /// The undo failed; an operator must repair the node.
    MigrationStuck,
    /// A change was rolled back, as the policy requires.
    RolledBack,
    /// This node waits for a slot that a failed node keeps.
    FleetHalted,
    /// A file that another program had modified was repaired.
    DriftRepaired,
    /// Another program keeps overwriting repaired files.
    ConflictingWriter,
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
        Self::ConflictingWriter,
        Self::PolicyInvalid,
    ];

    /// The name in the Event.
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
            Self::ConflictingWriter => "ConflictingWriter",
            Self::PolicyInvalid => "PolicyInvalid",
        }
    }

    /// Returns true if an operator should read it.
    fn is_warning(self) -> bool {
        match self {
            Self::MigrationStarted | Self::MigrationDone | Self::RolledBack | Self::DriftRepaired => false,
            Self::MigrationUndone
            | Self::MigrationRefused
            | Self::MigrationStuck
            | Self::FleetHalted
            | Self::ConflictingWriter
            | Self::PolicyInvalid => true,
        }
    }

    /// The action, which the API requires in addition to the reason.
    fn action(self) -> &'static str {
        match self {
            Self::MigrationStarted
            | Self::MigrationDone
            | Self::MigrationUndone
            | Self::MigrationRefused
            | Self::MigrationStuck => "Migrate",
            Self::RolledBack => "RollBack",
            Self::FleetHalted => "Wait",
            Self::DriftRepaired | Self::ConflictingWriter => "Repair",
            Self::PolicyInvalid => "ReadPolicy",
        }
    }
}

/// Publishes Events on one Node.
#[derive(Debug)]
pub struct Events {
    client: ApiClient,
    api: Api<Event>,
    identity: NodeIdentity,
    /// The Events of the last hour, oldest first.
    published: VecDeque<(Instant, EventReason, String)>,
    names: Jitter,
}

impl Events {
    /// Sends no request.
    pub fn new(client: ApiClient, identity: NodeIdentity) -> Self {
        Self {
            api: Api::namespaced(client.client(), NAMESPACE),
            client,
            identity,
            published: VecDeque::new(),
            names: Jitter::from_os(),
        }
    }

    /// Publishes an Event, unless the same one was published within the last hour. Returns false if the hourly limit
    /// suppresses it.
    ///
    /// `note` is one or two sentences without secrets.
    ///
    /// # Errors
    ///
    /// The error of the call. The agent can continue, because conditions carry the same information.
    pub async fn publish(&mut self, reason: EventReason, note: &str, now: Timestamp) -> Result<bool, Error> {
        let clock = Instant::now();
        while self
            .published
            .front()
            .is_some_and(|(at, ..)| clock.duration_since(*at) >= REPEAT_AFTER)
        {
            self.published.pop_front();
        }
        let is_same = |(_, other, text): &(Instant, EventReason, String)| *other == reason && text == note;
        if self.published.iter().any(is_same) {
            return Ok(true);
        }
        if self.published.len() >= MAX_EVENTS {
            return Ok(false);
        }
        let event = self.event(reason, note, now);
        let params = PostParams::default();
        let action = format!("create Event {}", reason.name());
        // The name is unique, so an existing Event of this name is the same Event.
        let created = self
            .client
            .call(&action, RetrySafety::Idempotent, || self.api.create(&params, &event))
            .await;
        match created {
            Ok(_) => {}
            Err(error) if error.kind == ApiErrorKind::Exists => {}
            Err(error) => return Err(error),
        }
        self.published.push_back((clock, reason, note.to_owned()));
        Ok(true)
    }

    fn event(&self, reason: EventReason, note: &str, now: Timestamp) -> Event {
        // A character has up to four bytes, and the ellipsis three.
        let max = if note.is_ascii() {
            LONGEST_NOTE - 2
        } else {
            LONGEST_NOTE / 4
        };
        let mut text = note.to_owned();
        truncate(&mut text, max);
        let kind = if reason.is_warning() { "Warning" } else { "Normal" };
        // Names of Nodes and of Events have at most 253 characters.
        let number = self.names.duration_up_to(Duration::from_nanos(u64::MAX)).as_nanos();
        let stem: String = self.identity.name.chars().take(220).collect();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{number:016x}", stem.trim_end_matches(['.', '-']))),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(reason.action().to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(text),
            reason: Some(reason.name().to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(self.identity.name.clone()),
                uid: Some(self.identity.uid.clone()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.identity.name.chars().take(128).collect()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }
}
