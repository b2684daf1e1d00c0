//! One watch that goes on: begun with a list, resumed where it broke, begun again when that is forgotten.

use crate::cluster::backoff::Backoff;
use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::api::{ListParams, WatchEvent as RawWatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long one watch lasts at least; a random part of [`SPREAD`] comes on top, so that thousands do not end together.
/// Each end costs the server a request, and a connection that is dead is found out by the kernel before.
const LASTS: Duration = Duration::from_mins(15);
const SPREAD: Duration = Duration::from_mins(5);
/// A watch that lasted this long was a good one, whatever it saw.
const GOOD: Duration = Duration::from_mins(1);
/// How much later than it should a watch may end before it counts as dead.
const GRACE: Duration = Duration::from_secs(30);

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WatchEvent<K> {
    /// All there is. Always the first, and again when something may have been missed.
    Restarted(Vec<K>),
    /// An object is new, or is now as here.
    Applied(K),
    /// An object is gone; this is how it was last.
    Deleted(K),
}

type WatchStream<K> = BoxStream<'static, kube::Result<RawWatchEvent<K>>>;

struct Open<K> {
    events: WatchStream<K>,
    begun: Instant,
    /// When it counts as dead.
    end: Instant,
}

/// A watch of the objects of one kind that a selector of fields picks.
pub(crate) struct Watch<K> {
    api: Api<K>,
    what: &'static str,
    fields: Option<String>,
    /// From where to go on; none before the first list.
    version: Option<String>,
    open: Option<Open<K>>,
    /// A server that ends each watch at once is not asked without pause; one that fails has a pace of its own.
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl<K> Debug for Watch<K> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what, fields, version, ..
        } = self;
        write!(out, "Watch({what}, {fields:?}, {version:?})")
    }
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watch<K> {
    /// Asks nothing yet.
    pub(crate) fn new(api: Api<K>, what: &'static str, fields: Option<String>) -> Self {
        Self {
            api,
            what,
            fields,
            version: None,
            open: None,
            not_before: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_mins(1)),
        }
    }

    /// Begins after a list that the caller has made, unless it has begun.
    pub(crate) fn resume_from(&mut self, version: Option<String>) {
        self.version = self.version.take().or(version);
    }

    /// Ends it; the next call of [`Watch::next`] begins with a list again.
    pub(crate) fn close(&mut self) {
        self.open = None;
        self.version = None;
    }

    /// Waits for the next thing to see. May be dropped at any time and called again: nothing is lost, and what is open
    /// stays open.
    ///
    /// # Errors
    ///
    /// That of a call. After one the watch goes on where it was, and asks less and less: nobody has to wait before.
    pub(crate) async fn next(&mut self, cluster: &ApiClient) -> Result<WatchEvent<K>, Error> {
        loop {
            if let Some(instant) = self.not_before {
                tokio::time::sleep_until(instant).await;
                self.not_before = None;
            }
            let Some(version) = self.version.clone() else {
                match self.list(cluster).await {
                    Ok(all) => return Ok(all),
                    Err(error) => self.failed(cluster, error)?,
                }
                continue;
            };
            if self.open.is_none() {
                match self.begin(cluster, &version).await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => self.failed(cluster, error)?,
                }
            }
            let Some(open) = &mut self.open else { continue };
            // It ended as it should, or was cut off, or nothing was heard of it for too long.
            let Ok(Some(event)) = timeout_at(open.end, open.events.next()).await else {
                self.pause(cluster);
                continue;
            };
            match event {
                Ok(RawWatchEvent::Bookmark(bookmark)) => self.version = Some(bookmark.metadata.resource_version),
                Ok(RawWatchEvent::Added(object) | RawWatchEvent::Modified(object)) => {
                    self.heard(&object);
                    return Ok(WatchEvent::Applied(object));
                }
                Ok(RawWatchEvent::Deleted(object)) => {
                    self.heard(&object);
                    return Ok(WatchEvent::Deleted(object));
                }
                Ok(RawWatchEvent::Error(status)) => self.failed(cluster, Error::from_status(&self.doing(), &status))?,
                Err(error) => self.failed(cluster, Error::of(&self.doing(), &error))?,
            }
        }
    }

    fn doing(&self) -> String {
        format!("watch {}", self.what)
    }

    fn heard(&mut self, object: &K) {
        self.version = object.resource_version().or(self.version.take());
        self.backoff.reset();
    }

    /// A list of any age: what came since is seen by the watch that follows it. The server has it in memory.
    async fn list(&mut self, cluster: &ApiClient) -> Result<WatchEvent<K>, Error> {
        let mut params = ListParams::default().match_any();
        params.field_selector.clone_from(&self.fields);
        let doing = format!("list {}", self.what);
        let list = cluster
            .without_deadline()
            .call(&doing, RetrySafety::Idempotent, || self.api.list(&params))
            .await?;
        self.version = Some(list.metadata.resource_version.unwrap_or_default());
        Ok(WatchEvent::Restarted(list.items))
    }

    async fn begin(&self, cluster: &ApiClient, version: &str) -> Result<Open<K>, Error> {
        let lasts = LASTS + cluster.jitter().duration_up_to(SPREAD);
        let mut params = WatchParams::default().timeout(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
        params.field_selector.clone_from(&self.fields);
        let events = cluster
            .without_deadline()
            .call(&self.doing(), RetrySafety::Idempotent, || {
                self.api.watch(&params, version)
            })
            .await?;
        let begun = Instant::now();
        Ok(Open {
            events: events.boxed(),
            begun,
            end: begun + lasts + GRACE,
        })
    }

    /// Where it was is forgotten: begins again. Anything else goes to the caller.
    fn failed(&mut self, cluster: &ApiClient, error: Error) -> Result<(), Error> {
        let call_failed = self.open.is_none() && error.kind.is_outage();
        if !call_failed {
            self.pause(cluster);
        }
        if error.kind == ApiErrorKind::Expired {
            self.version = None;
            return Ok(());
        }
        Err(error)
    }

    /// Ends the connection; the next one comes after a while that grows unless the last was good or something was heard.
    fn pause(&mut self, cluster: &ApiClient) {
        if self.open.take().is_some_and(|open| open.begun.elapsed() >= GOOD) {
            self.backoff.reset();
        }
        self.not_before = Some(Instant::now() + self.backoff.next(cluster.jitter()));
    }
}
