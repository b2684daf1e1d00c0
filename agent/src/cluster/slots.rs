//! Slots: they limit the number of nodes that are changed at the same time.
//!
//! A slot is a Lease `slot-0` … `slot-<n-1>` in the agent's namespace, owned by the Node that holds it. A node acquires
//! a slot by creating the Lease, which the API server allows to exactly one of many nodes, and releases it by deleting
//! the Lease. Time plays no part: a slot does not become free because it was held for long or because a clock is wrong.
//! A node whose change failed keeps its slot. So failures use up the slots, and the rollout stops until an operator
//! releases one.
//!
//! Any error means no.
//!
//! # Expected flow
//!
//! 1. [`SlotPool::acquire`]. If all slots are held, [`SlotPool::wait`] and repeat.
//! 2. Change the node. If the change fails, [`SlotPool::annotate`] the slot with the reason, and keep it.
//! 3. [`SlotPool::release`] when the node serves and the change has settled.
//!
//! An agent that is restarted in between finds its slot with [`SlotPool::current_slot`], or gets
//! [`AcquireOutcome::Held`].

use crate::cluster::backoff::Backoff;
use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::conditions::whole_second;
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::{LONGEST_MESSAGE, NodePhase, truncate};
use crate::cluster::watch::{Watch, WatchEvent};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The annotation with the phase of the node that holds the slot.
pub const PHASE: &str = "mirrorshift.dev/phase";
/// The annotation with the reason why the slot is held, in one sentence.
pub const REASON: &str = "mirrorshift.dev/reason";
/// The annotation with the command that releases the slot, for the operator who has found the cause.
pub const FREE: &str = "mirrorshift.dev/free";

/// A waiting node tries to acquire a free slot after a random delay up to this time. The bound doubles with each slot
/// that another node acquired first, up to [`SPREAD_MAX`]. So only a few of thousands of nodes try, and a handful of
/// nodes does not wait long.
const SPREAD: Duration = Duration::from_secs(1);
const SPREAD_MAX: Duration = Duration::from_mins(1);

/// A slot that this node holds. This value is the permission to change the node.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldSlot {
    name: String,
    uid: String,
}

impl HeldSlot {
    /// The name of the Lease, for example `slot-0`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHolder {
    /// The name of the Lease.
    pub slot: String,
    /// The name of the node; empty if the Lease has none.
    pub node: String,
    /// The phase that the node reported last.
    pub phase: String,
    /// The reason that the node reported last.
    pub reason: String,
    /// The command that releases the slot.
    pub free: String,
}

/// The outcome of acquiring a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum AcquireOutcome {
    /// A free slot was acquired.
    New(HeldSlot),
    /// This node already held a slot, which an earlier process of the agent acquired.
    Held(HeldSlot),
    /// Other nodes hold all slots, or acquired the chosen one first. These are the holders now.
    Full(Vec<SlotHolder>),
}

impl SlotHolder {
    /// Returns true if the change of the node failed, so that it keeps the slot until an operator releases it.
    pub fn failed(&self) -> bool {
        [NodePhase::Undone, NodePhase::Stuck]
            .iter()
            .any(|phase| self.phase == phase.name())
    }
}

/// The outcome of waiting for a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// A slot seems to be free, and this node may try to acquire it.
    Free,
    /// All slots are held, and the set of slots held by failed nodes has changed.
    Failed(Vec<SlotHolder>),
}

/// The slots, as the watch shows them to a waiting node.
enum WaitState {
    /// The watch has not listed the slots yet.
    Unsynced,
    /// All slots are held.
    Full,
    /// A slot is free, and this node may try to acquire it at this time.
    FreeAt(Instant),
}

/// The annotations of a held slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotNote {
    /// The phase of the node.
    pub phase: String,
    /// The reason why the slot is held, in one sentence, without secrets.
    pub reason: String,
}

/// The slots of the cluster, from the perspective of one node.
#[derive(Debug)]
pub struct SlotPool {
    client: ApiClient,
    leases: Api<Lease>,
    namespace: String,
    identity: NodeIdentity,
    watch: Watch<Lease>,
    /// The slots of the watch, by name; none before its first list.
    leases_seen: Option<BTreeMap<String, Lease>>,
    spread: Backoff,
    /// The time at which this node tries to acquire the free slot.
    turn: Option<Instant>,
    /// The slots of failed nodes that the last outcome reported.
    failed: BTreeSet<String>,
}

impl SlotPool {
    /// Sends no request. `namespace` is that of the agent.
    pub fn new(client: ApiClient, namespace: &str, identity: NodeIdentity) -> Self {
        let leases = Api::namespaced(client.client(), namespace);
        Self {
            watch: Watch::new(leases.clone(), "the slots' Leases", None),
            client,
            leases,
            namespace: namespace.to_owned(),
            identity,
            leases_seen: None,
            spread: Backoff::new(SPREAD, SPREAD_MAX),
            turn: None,
            failed: BTreeSet::new(),
        }
    }

    /// Returns the slot that this node holds, if any.
    ///
    /// # Errors
    ///
    /// The error of a call. Then it is unknown whether the node holds a slot.
    pub async fn current_slot(&self) -> Result<Option<HeldSlot>, Error> {
        let (leases, _) = self.list().await?;
        let own = self.own_slots(&leases).into_iter().next();
        self.client.set_urgent(own.is_some());
        Ok(own)
    }

    /// Acquires one of `slots` slots. `now` is written to the Lease for people; no decision depends on it.
    ///
    /// The node tries one random free slot. So a thousand nodes that read a new policy at the same moment make a
    /// thousand attempts in total, and not a thousand per slot. A node that loses the race continues with
    /// [`SlotPool::wait`].
    ///
    /// # Guarantees
    ///
    /// At most `slots` nodes hold a slot at the same time, if all nodes pass the same number. A node that passes a
    /// smaller number than there are held slots acquires none.
    ///
    /// # Errors
    ///
    /// The error of a call. Then this node has no slot that it may use. If the response was lost, the node may hold one
    /// nevertheless; the next [`SlotPool::acquire`] or [`SlotPool::current_slot`] finds it.
    pub async fn acquire(&mut self, slots: u16, note: &SlotNote, now: Timestamp) -> Result<AcquireOutcome, Error> {
        let (mut leases, mut version) = self.list().await?;
        let mut own = self.own_slots(&leases);
        if !own.is_empty() {
            let slot = own.remove(0);
            // The node can hold two if the response to the first creation was lost.
            for surplus in own {
                self.release(surplus).await?;
            }
            self.on_acquired();
            return Ok(AcquireOutcome::Held(slot));
        }
        if leases.len() < usize::from(slots) {
            self.identity.verify_node_exists(&self.client).await?;
            let names = (0..slots).map(slot_name);
            let free: Vec<String> = names.filter(|name| !leases.contains_key(name)).collect();
            if let Some(name) = self.client.jitter().pick(&free)
                && let Some(slot) = self.create(name, note, now).await?
            {
                self.on_acquired();
                return Ok(AcquireOutcome::New(slot));
            }
            (leases, version) = self.list().await?;
        }
        self.on_lost_race();
        let holders = self.holders(&leases);
        self.failed = failed_slots(&holders);
        // A watch that is open has newer data.
        if self.leases_seen.is_none() {
            self.watch.resume_from(version);
            self.leases_seen = Some(leases);
        }
        Ok(AcquireOutcome::Full(holders))
    }

    /// Writes the phase and the reason to the slot.
    ///
    /// # Errors
    ///
    /// [`ApiErrorKind::Absent`] or [`ApiErrorKind::Conflict`] if an operator has released the slot.
    pub async fn annotate(&self, slot: &HeldSlot, note: &SlotNote) -> Result<(), Error> {
        let patch = Patch::Merge(json!({ "metadata": {
            // Fails for a Lease that another node has created since.
            "uid": slot.uid,
            "annotations": self.annotations(&slot.name, note),
        }}));
        let params = PatchParams::default();
        let action = format!("annotate Lease {}", slot.name);
        let written = self.client.call(&action, RetrySafety::Idempotent, || {
            self.leases.patch_metadata(&slot.name, &params, &patch)
        });
        match written.await {
            Ok(_metadata) => Ok(()),
            // The API server rejects a patch with another uid as invalid. Nothing else in this patch can be invalid.
            Err(mut error) if error.kind == ApiErrorKind::Invalid => {
                error.kind = ApiErrorKind::Conflict;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Releases the slot. Succeeds too if the slot does not exist any more, or belongs to another node.
    ///
    /// # Errors
    ///
    /// The error of a call. Then the node may still hold the slot; [`SlotPool::current_slot`] reports it.
    pub async fn release(&self, slot: HeldSlot) -> Result<(), Error> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(slot.uid),
            resource_version: None,
        });
        let action = format!("delete Lease {}", slot.name);
        let outcome = self
            .client
            .call(&action, RetrySafety::Idempotent, || {
                self.leases.delete(&slot.name, &params)
            })
            .await;
        match outcome {
            Err(error) if !matches!(error.kind, ApiErrorKind::Absent | ApiErrorKind::Conflict) => Err(error),
            _ => {
                self.client.set_urgent(false);
                Ok(())
            }
        }
    }

    /// Waits until one of `slots` slots seems to be free and this node may try to [`acquire`](SlotPool::acquire) it.
    /// Also returns when another set of slots is held by failed nodes. Needs one watch, which stays open until
    /// [`SlotPool::stop_watching`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// The error of a call. The delay before the next call grows with each failure.
    pub async fn wait(&mut self, slots: u16) -> Result<WaitOutcome, Error> {
        loop {
            if let Some(outcome) = self.failed_slots_changed(slots) {
                return Ok(outcome);
            }
            let event = match self.wait_state(slots) {
                WaitState::Unsynced => self.watch.next(&self.client).await?,
                WaitState::Full => {
                    // The slot was free before, and another node acquired it first.
                    if self.turn.is_some() {
                        self.on_lost_race();
                    }
                    self.watch.next(&self.client).await?
                }
                WaitState::FreeAt(turn) => match timeout_at(turn, self.watch.next(&self.client)).await {
                    Ok(event) => event?,
                    Err(_elapsed) => {
                        self.turn = None;
                        return Ok(WaitOutcome::Free);
                    }
                },
            };
            self.apply_event(event);
        }
    }

    fn wait_state(&mut self, slots: u16) -> WaitState {
        match &self.leases_seen {
            None => WaitState::Unsynced,
            Some(leases) if leases.len() >= usize::from(slots) => WaitState::Full,
            Some(_) => {
                let jitter = self.client.jitter();
                let turn = *self
                    .turn
                    .get_or_insert_with(|| Instant::now() + self.spread.delay(jitter));
                WaitState::FreeAt(turn)
            }
        }
    }

    /// Returns the holders if all slots are held, and other slots than before are held by failed nodes.
    fn failed_slots_changed(&mut self, slots: u16) -> Option<WaitOutcome> {
        let leases = self.leases_seen.as_ref();
        let holders = self.holders(leases.filter(|leases| leases.len() >= usize::from(slots))?);
        let failed = failed_slots(&holders);
        if failed == self.failed {
            return None;
        }
        self.failed = failed;
        Some(WaitOutcome::Failed(holders))
    }

    /// Closes the watch of [`SlotPool::wait`].
    pub fn stop_watching(&mut self) {
        self.watch.close();
        self.leases_seen = None;
        self.turn = None;
        self.spread.reset();
    }

    /// This node holds a slot now: stop watching, and treat further calls as urgent because other nodes are waiting.
    fn on_acquired(&mut self) {
        self.client.set_urgent(true);
        self.stop_watching();
    }

    fn on_lost_race(&mut self) {
        self.turn = None;
        self.spread.double();
    }

    fn apply_event(&mut self, event: WatchEvent<Lease>) {
        match event {
            WatchEvent::Restarted(leases) => self.leases_seen = Some(slots_of(leases)),
            WatchEvent::Applied(lease) => self.leases_seen.get_or_insert_default().extend(slots_of([lease])),
            WatchEvent::Deleted(lease) => {
                self.leases_seen.get_or_insert_default().remove(&lease.name_any());
            }
        }
    }

    /// Lists the slots by name, with the resource version of the list. The list is current, not from a cache of the
    /// server.
    async fn list(&self) -> Result<(BTreeMap<String, Lease>, Option<String>), Error> {
        let params = ListParams::default();
        let action = "list the slots' Leases";
        let list = self
            .client
            .call(action, RetrySafety::Idempotent, || self.leases.list(&params))
            .await?;
        let version = list.metadata.resource_version.clone();
        Ok((slots_of(list), version))
    }

    fn own_slots(&self, leases: &BTreeMap<String, Lease>) -> Vec<HeldSlot> {
        let held = leases.values().filter(|lease| {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
            holder == Some(&self.identity.name) && self.identity.owns(lease.metadata.owner_references.as_ref())
        });
        held.filter_map(held_slot).collect()
    }

    /// Creates the Lease. Returns `None` if another node has created it.
    async fn create(&self, name: &str, note: &SlotNote, now: Timestamp) -> Result<Option<HeldSlot>, Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                owner_references: Some(vec![self.identity.owner_reference()]),
                annotations: Some(self.annotations(name, note)),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.name.clone()),
                acquire_time: Some(MicroTime(whole_second(now))),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams::default();
        let action = format!("create Lease {name}");
        // If the creation were repeated after a lost response, the Lease would exist, and the node would acquire a
        // second one.
        let created = self
            .client
            .call(&action, RetrySafety::IfNotApplied, || {
                self.leases.create(&params, &lease)
            })
            .await;
        match created {
            Ok(lease) => match held_slot(&lease) {
                Some(slot) => Ok(Some(slot)),
                None => Err(Error::new(&action, ApiErrorKind::Unreadable, "the response has no uid")),
            },
            Err(error) if error.kind == ApiErrorKind::Exists => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn annotations(&self, slot: &str, note: &SlotNote) -> BTreeMap<String, String> {
        let mut reason = note.reason.clone();
        truncate(&mut reason, LONGEST_MESSAGE);
        BTreeMap::from([
            (PHASE.to_owned(), note.phase.clone()),
            (REASON.to_owned(), reason),
            (FREE.to_owned(), self.release_command(slot)),
        ])
    }

    fn release_command(&self, slot: &str) -> String {
        format!("kubectl -n {} delete lease {slot}", self.namespace)
    }

    fn holders(&self, leases: &BTreeMap<String, Lease>) -> Vec<SlotHolder> {
        leases.values().map(|lease| self.holder(lease)).collect()
    }

    fn holder(&self, lease: &Lease) -> SlotHolder {
        let annotation = |key: &str| lease.annotations().get(key).cloned().unwrap_or_default();
        let slot = lease.name_any();
        SlotHolder {
            node: lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.clone())
                .unwrap_or_default(),
            phase: annotation(PHASE),
            reason: annotation(REASON),
            // Computed, because the annotation may contain any text, and people copy this command.
            free: self.release_command(&slot),
            slot,
        }
    }
}

fn failed_slots(holders: &[SlotHolder]) -> BTreeSet<String> {
    let failed = holders.iter().filter(|holder| holder.failed());
    failed.map(|holder| holder.slot.clone()).collect()
}

fn slot_name(number: u16) -> String {
    format!("slot-{number}")
}

/// Selects the slots, which have a number in their name, from the Leases of the namespace.
fn slots_of(leases: impl IntoIterator<Item = Lease>) -> BTreeMap<String, Lease> {
    let numbered = |name: &str| {
        name.strip_prefix("slot-")
            .is_some_and(|number| number.parse::<u16>().is_ok())
    };
    let named = leases.into_iter().map(|lease| (lease.name_any(), lease));
    named.filter(|(name, _)| numbered(name)).collect()
}

fn held_slot(lease: &Lease) -> Option<HeldSlot> {
    Some(HeldSlot {
        name: lease.metadata.name.clone()?,
        uid: lease.metadata.uid.clone()?,
    })
}
