//! The gate: how many nodes may be between armed and settled at one time.
//!
//! A slot is a Lease `slot-0` … `slot-<n-1>` in the agent's namespace, owned by the Node that holds it. It is taken by making it,
//! which the API server lets one of many do, and given back by deleting it. Time plays no part: nobody's slot becomes
//! free because it was held for long or because a clock is wrong. A node that failed keeps its slot, so failures use up the slots
//! and the fleet stops by itself until a person frees one.
//!
//! Any error means no.

use crate::cluster::backoff::Backoff;
use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::conditions::whole_second;
use crate::cluster::error::{ApiErrorKind, Error};
use crate::cluster::node_identity::NodeIdentity;
use crate::cluster::node_mirror::{LONGEST_MESSAGE, NodePhase, cut};
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

/// What the change that holds the slot is doing.
pub const PHASE: &str = "mirrorshift.dev/phase";
/// Why the slot is held, in one sentence.
pub const REASON: &str = "mirrorshift.dev/reason";
/// The command that frees the slot, for the person who has looked.
pub const FREE: &str = "mirrorshift.dev/free";

/// After a slot was seen to be free, a waiting node tries for it within this time, at random. Doubled with each slot that
/// another one took, up to [`SPREAD_MOST`]: of thousands who wait a few try, and a handful does not wait long.
const SPREAD: Duration = Duration::from_secs(1);
const SPREAD_MOST: Duration = Duration::from_mins(1);

/// A slot that this node holds. Whoever has it in hand may change the node.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldSlot {
    name: String,
    uid: String,
}

impl HeldSlot {
    /// The Lease's name, as in `slot-0`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Who holds a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHolder {
    /// The Lease's name.
    pub slot: String,
    /// The node's name; empty when the Lease does not say.
    pub node: String,
    /// What its change is doing, as that node said last.
    pub phase: String,
    /// Why the slot is held, as that node said last.
    pub reason: String,
    /// The command that frees it.
    pub free: String,
}

/// What came of asking for a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum AcquireOutcome {
    /// It was free, and is this node's now.
    New(HeldSlot),
    /// This node held it already: an agent took it before and has not given it back.
    Held(HeldSlot),
    /// Others hold all of them, or were faster at the one that it tried. These hold one now.
    Full(Vec<SlotHolder>),
}

impl SlotHolder {
    /// Whether its change failed, so that it keeps the slot until a person frees it.
    pub fn failed(&self) -> bool {
        [NodePhase::Undone, NodePhase::Stuck]
            .iter()
            .any(|phase| self.phase == phase.name())
    }
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// A slot seems to be free, and it is this node's turn to try.
    Free,
    /// All are held, and other slots than before by nodes that failed.
    Failed(Vec<SlotHolder>),
}

/// What is written at a slot that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotNote {
    /// What the change is doing, in one word.
    pub phase: String,
    /// Why the slot is held, in one sentence. Whoever makes it has masked it.
    pub reason: String,
}

/// The cluster's slots, as one node sees them.
#[derive(Debug)]
pub struct SlotPool {
    cluster: ApiClient,
    leases: Api<Lease>,
    namespace: String,
    owner: NodeIdentity,
    watch: Watch<Lease>,
    /// The Leases that the watch has seen, by name; none before its first list.
    seen: Option<BTreeMap<String, Lease>>,
    spread: Backoff,
    /// When this node tries for the slot that is free.
    turn: Option<Instant>,
    /// The slots that are held by nodes that failed, as the caller knows it.
    failed: BTreeSet<String>,
}

impl SlotPool {
    /// Asks nothing yet. `namespace` is the agent's own.
    pub fn new(cluster: ApiClient, namespace: &str, owner: NodeIdentity) -> Self {
        let leases = Api::namespaced(cluster.client(), namespace);
        Self {
            watch: Watch::new(leases.clone(), "the slots' Leases", None),
            cluster,
            leases,
            namespace: namespace.to_owned(),
            owner,
            seen: None,
            spread: Backoff::new(SPREAD, SPREAD_MOST),
            turn: None,
            failed: BTreeSet::new(),
        }
    }

    /// The API server that it asks.
    pub(crate) fn cluster(&self) -> &ApiClient {
        &self.cluster
    }

    /// The slot that this node holds, if any: how an agent that was started again finds out.
    ///
    /// # Errors
    ///
    /// That of a call; then nobody knows.
    pub async fn current_slot(&self) -> Result<Option<HeldSlot>, Error> {
        let (leases, _) = self.list().await?;
        let own = self.own(&leases).into_iter().next();
        self.cluster.set_urgent(own.is_some());
        Ok(own)
    }

    /// Takes one of `slots` slots. `now` is only told to people.
    ///
    /// Of those that are free it tries one, at random: a thousand nodes that read a new policy in the same moment make a thousand
    /// attempts, and not that many for each slot. Who is beaten to it waits as [`Gate::wait`] says.
    ///
    /// # Guarantees
    ///
    /// Not more than `slots` nodes hold a slot at one time, as long as all ask for the same number; a node that asks for
    /// fewer than are held takes none.
    ///
    /// # Errors
    ///
    /// That of a call: then this node holds no slot that it may use. It may turn out later to hold one after all, when the
    /// answer was lost; the next [`Gate::take`] or [`Gate::held`] finds it.
    pub async fn acquire(&mut self, slots: u16, why: &SlotNote, now: Timestamp) -> Result<AcquireOutcome, Error> {
        let (mut leases, mut version) = self.list().await?;
        let mut own = self.own(&leases);
        if !own.is_empty() {
            let slot = own.remove(0);
            // Two can be own when the answer to the first was lost; one is enough.
            for surplus in own {
                self.release(surplus).await?;
            }
            self.on_acquired();
            return Ok(AcquireOutcome::Held(slot));
        }
        if leases.len() < usize::from(slots) {
            self.owner.verify_node_exists(&self.cluster).await?;
            let names = (0..slots).map(slot_name);
            let free: Vec<String> = names.filter(|name| !leases.contains_key(name)).collect();
            if let Some(name) = self.cluster.jitter().pick(&free)
                && let Some(slot) = self.make(name, why, now).await?
            {
                self.on_acquired();
                return Ok(AcquireOutcome::New(slot));
            }
            (leases, version) = self.list().await?;
        }
        self.on_lost_race();
        let holders = self.holders(&leases);
        self.failed = failed(&holders);
        // Whoever waits has seen the list already.
        if self.seen.is_none() {
            self.watch.resume_from(version);
            self.seen = Some(leases);
        }
        Ok(AcquireOutcome::Full(holders))
    }

    /// Says at the slot what is going on and why it is held.
    ///
    /// # Errors
    ///
    /// [`Kind::Absent`] or [`Kind::Conflict`] when the slot is no longer this node's: a person has freed it.
    pub async fn annotate(&self, slot: &HeldSlot, why: &SlotNote) -> Result<(), Error> {
        let patch = Patch::Merge(json!({ "metadata": {
            // Of this Lease, and not of one that another node has made since.
            "uid": slot.uid,
            "annotations": self.annotations(&slot.name, why),
        }}));
        let params = PatchParams::default();
        let doing = format!("write at Lease {}", slot.name);
        let told = self.cluster.call(&doing, RetrySafety::Idempotent, || {
            self.leases.patch_metadata(&slot.name, &params, &patch)
        });
        match told.await {
            Ok(_told) => Ok(()),
            // Nothing else in it could be: the API server takes another uid for a mistake.
            Err(mut error) if error.kind == ApiErrorKind::Invalid => {
                error.kind = ApiErrorKind::Conflict;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the slot back. When it is gone already, or another node's, it is as it should be.
    ///
    /// # Errors
    ///
    /// That of a call: the slot is still held, as [`Gate::held`] will find.
    pub async fn release(&self, slot: HeldSlot) -> Result<(), Error> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(slot.uid),
            resource_version: None,
        });
        let doing = format!("delete Lease {}", slot.name);
        let outcome = self
            .cluster
            .call(&doing, RetrySafety::Idempotent, || {
                self.leases.delete(&slot.name, &params)
            })
            .await;
        match outcome {
            Err(error) if !matches!(error.kind, ApiErrorKind::Absent | ApiErrorKind::Conflict) => Err(error),
            _ => {
                self.cluster.set_urgent(false);
                Ok(())
            }
        }
    }

    /// Waits until one of `slots` slots seems to be free and it is this node's turn to try; then [`Gate::take`] it. Also ends when
    /// a node that holds one has failed, or no longer. Costs one watch while it waits. May be dropped and called again at any time, and ends with [`Gate::rest`].
    ///
    /// # Errors
    ///
    /// That of a call. The next comes after a while that grows.
    pub async fn wait(&mut self, slots: u16) -> Result<WaitOutcome, Error> {
        loop {
            if let Some(seen) = self.seen.as_ref().filter(|seen| seen.len() >= usize::from(slots)) {
                let holders = self.holders(seen);
                let failed = failed(&holders);
                if failed != self.failed {
                    self.failed = failed;
                    return Ok(WaitOutcome::Failed(holders));
                }
            }
            let free = self.seen.as_ref().map(|seen| seen.len() < usize::from(slots));
            let seen = match (free, self.turn) {
                (Some(true), Some(turn)) => match timeout_at(turn, self.watch.next(&self.cluster)).await {
                    Ok(seen) => seen?,
                    Err(_elapsed) => {
                        self.turn = None;
                        return Ok(WaitOutcome::Free);
                    }
                },
                (Some(true), None) => {
                    let mut spread = self.spread;
                    self.turn = Some(Instant::now() + spread.next(self.cluster.jitter()));
                    continue;
                }
                (Some(false) | None, turn) => {
                    // It was free, and somebody else was faster.
                    if turn.is_some() && free.is_some() {
                        self.on_lost_race();
                    }
                    self.watch.next(&self.cluster).await?
                }
            };
            self.apply_event(seen);
        }
    }

    /// Ends the watch of [`Gate::wait`], for a node that no longer waits.
    pub fn stop_watching(&mut self) {
        self.watch.close();
        self.seen = None;
        self.turn = None;
        self.spread.reset();
    }

    /// Others wait for this node now, and it for nobody.
    fn on_acquired(&mut self) {
        self.cluster.set_urgent(true);
        self.stop_watching();
    }

    fn on_lost_race(&mut self) {
        self.turn = None;
        self.spread.next(self.cluster.jitter());
    }

    fn apply_event(&mut self, seen: WatchEvent<Lease>) {
        match seen {
            WatchEvent::Restarted(leases) => self.seen = Some(slots_of(leases)),
            WatchEvent::Applied(lease) => self.seen.get_or_insert_default().extend(slots_of([lease])),
            WatchEvent::Deleted(lease) => {
                self.seen.get_or_insert_default().remove(&lease.name_any());
            }
        }
    }

    /// The Leases that are slots, by name, and the list's version; as they are now, not as some server remembers them.
    async fn list(&self) -> Result<(BTreeMap<String, Lease>, Option<String>), Error> {
        let params = ListParams::default();
        let doing = "list the slots' Leases";
        let list = self
            .cluster
            .call(doing, RetrySafety::Idempotent, || self.leases.list(&params))
            .await?;
        let version = list.metadata.resource_version.clone();
        Ok((slots_of(list), version))
    }

    fn own(&self, leases: &BTreeMap<String, Lease>) -> Vec<HeldSlot> {
        let held = leases.values().filter(|lease| {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
            holder == Some(&self.owner.name) && self.owner.owns(lease.metadata.owner_references.as_ref())
        });
        held.filter_map(slot).collect()
    }

    /// Makes the Lease, unless somebody else has.
    async fn make(&self, name: &str, why: &SlotNote, now: Timestamp) -> Result<Option<HeldSlot>, Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                owner_references: Some(vec![self.owner.reference()]),
                annotations: Some(self.annotations(name, why)),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.owner.name.clone()),
                acquire_time: Some(MicroTime(whole_second(now))),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams::default();
        let doing = format!("make Lease {name}");
        // Made again after a lost answer it would exist, and the next one would be taken besides.
        let made = self
            .cluster
            .call(&doing, RetrySafety::IfNotApplied, || {
                self.leases.create(&params, &lease)
            })
            .await;
        match made {
            Ok(lease) => match slot(&lease) {
                Some(slot) => Ok(Some(slot)),
                None => Err(Error::new(&doing, ApiErrorKind::Unreadable, "the answer has no uid")),
            },
            Err(error) if error.kind == ApiErrorKind::Exists => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn annotations(&self, slot: &str, why: &SlotNote) -> BTreeMap<String, String> {
        let mut reason = why.reason.clone();
        cut(&mut reason, LONGEST_MESSAGE);
        BTreeMap::from([
            (PHASE.to_owned(), why.phase.clone()),
            (REASON.to_owned(), reason),
            (FREE.to_owned(), self.command(slot)),
        ])
    }

    fn command(&self, slot: &str) -> String {
        format!("kubectl -n {} delete lease {slot}", self.namespace)
    }

    fn holders(&self, leases: &BTreeMap<String, Lease>) -> Vec<SlotHolder> {
        leases.values().map(|lease| self.holder(lease)).collect()
    }

    fn holder(&self, lease: &Lease) -> SlotHolder {
        let said = |key: &str| lease.annotations().get(key).cloned().unwrap_or_default();
        let slot = lease.name_any();
        SlotHolder {
            node: lease
                .spec
                .as_ref()
                .and_then(|spec| spec.holder_identity.clone())
                .unwrap_or_default(),
            phase: said(PHASE),
            reason: said(REASON),
            // Not what stands there: anybody's text is no command to repeat.
            free: self.command(&slot),
            slot,
        }
    }
}

fn failed(holders: &[SlotHolder]) -> BTreeSet<String> {
    let failed = holders.iter().filter(|holder| holder.failed());
    failed.map(|holder| holder.slot.clone()).collect()
}

fn slot_name(number: u16) -> String {
    format!("slot-{number}")
}

/// Slots have a number for a name; other Leases of the namespace are no concern of the gate.
fn slots_of(leases: impl IntoIterator<Item = Lease>) -> BTreeMap<String, Lease> {
    let numbered = |name: &str| {
        name.strip_prefix("slot-")
            .is_some_and(|number| number.parse::<u16>().is_ok())
    };
    let named = leases.into_iter().map(|lease| (lease.name_any(), lease));
    named.filter(|(name, _)| numbered(name)).collect()
}

fn slot(lease: &Lease) -> Option<HeldSlot> {
    Some(HeldSlot {
        name: lease.metadata.name.clone()?,
        uid: lease.metadata.uid.clone()?,
    })
}
