//! A watch that continues after interruptions. It starts with a list, resumes from the last resource version after a
//! lost connection, and starts with a list again when the server has expired that version.
//!
//! This is not kube-runtime's `watcher`, because its `Config::timeout` is limited to 295 s (`watcher.rs:227` in
//! kube-runtime 5.0.0). The watches here last 15 to 20 minutes, so that 5,000 agents at rest send about 5 requests per
//! second and not about 17. In addition, the throttle of [`ApiClient`] delays these requests together with all others
//! of the agent, and honours `Retry-After` for all of them.

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

/// The minimum lifetime of a watch. Up to [`SPREAD`] is added at random, so that thousands of agents do not reconnect
/// at once. Each new watch costs the server a request. The kernel detects a lost connection earlier, by TCP keep-alive.
const LIFETIME: Duration = Duration::from_mins(15);
const SPREAD: Duration = Duration::from_mins(5);
/// A watch that lasted this long was successful, even without events.
const SUCCESSFUL: Duration = Duration::from_mins(1);
/// The time after the end of its lifetime at which a watch is considered lost.
const GRACE: Duration = Duration::from_secs(30);

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WatchEvent<K> {
    /// All objects. The first event, and sent again when events may have been missed.
    Restarted(Vec<K>),
    /// An object was created or modified.
    Applied(K),
    /// An object was deleted. The value is its last state.
    Deleted(K),
}

type WatchStream<K> = BoxStream<'static, kube::Result<RawWatchEvent<K>>>;

/// An open connection of a watch.
struct OpenWatch<K> {
    events: WatchStream<K>,
    begun: Instant,
    /// The time at which the connection is considered lost.
    end: Instant,
}

/// A watch of the objects of one kind, limited by a field selector.
pub(crate) struct Watch<K> {
    api: Api<K>,
    /// The objects, for error messages.
    objects: &'static str,
    fields: Option<String>,
    /// The resource version to resume from; none before the first list.
    version: Option<String>,
    open: Option<OpenWatch<K>>,
    /// The earliest time of the next connection, for a server that ends each watch at once. The throttle of the client
    /// delays requests to a server that fails.
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl<K> Debug for Watch<K> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            objects,
            fields,
            version,
            ..
        } = self;
        write!(out, "Watch({objects}, {fields:?}, {version:?})")
    }
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watch<K> {
    /// Sends no request.
    pub(crate) fn new(api: Api<K>, objects: &'static str, fields: Option<String>) -> Self {
        Self {
            api,
            objects,
            fields,
            version: None,
            open: None,
            not_before: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_mins(1)),
        }
    }

    /// Sets the resource version of a list that the caller has made, unless the watch has one.
    pub(crate) fn resume_from(&mut self, version: Option<String>) {
        self.version = self.version.take().or(version);
    }

    /// Closes the connection. The next call of [`Watch::next`] starts with a list.
    pub(crate) fn close(&mut self) {
        self.open = None;
        self.version = None;
    }

    /// Waits for the next event. Cancel safe: no event is lost, and the connection stays open.
    ///
    /// # Errors
    ///
    /// The error of a call. The next call of this function resumes the watch, after a delay that grows with each failure.
    /// The caller need not wait.
    pub(crate) async fn next(&mut self, client: &ApiClient) -> Result<WatchEvent<K>, Error> {
        loop {
            if let Some(instant) = self.not_before {
                tokio::time::sleep_until(instant).await;
                self.not_before = None;
            }
            let Some(version) = self.version.clone() else {
                match self.list(client).await {
                    Ok(all) => return Ok(all),
                    Err(error) => self.handle_error(client, error)?,
                }
                continue;
            };
            if self.open.is_none() {
                match self.open(client, &version).await {
                    Ok(open) => self.open = Some(open),
                    Err(error) => self.handle_error(client, error)?,
                }
            }
            let Some(open) = &mut self.open else { continue };
            // The watch reached its lifetime, or the connection was closed or lost.
            let Ok(Some(event)) = timeout_at(open.end, open.events.next()).await else {
                self.close_and_pause(client);
                continue;
            };
            match event {
                Ok(RawWatchEvent::Bookmark(bookmark)) => self.version = Some(bookmark.metadata.resource_version),
                Ok(RawWatchEvent::Added(object) | RawWatchEvent::Modified(object)) => {
                    self.record_version(&object);
                    return Ok(WatchEvent::Applied(object));
                }
                Ok(RawWatchEvent::Deleted(object)) => {
                    self.record_version(&object);
                    return Ok(WatchEvent::Deleted(object));
                }
                Ok(RawWatchEvent::Error(status)) => {
                    self.handle_error(client, Error::from_status(&self.action(), &status))?;
                }
                Err(error) => self.handle_error(client, Error::of(&self.action(), &error))?,
            }
        }
    }

    fn action(&self) -> String {
        format!("watch {}", self.objects)
    }

    fn record_version(&mut self, object: &K) {
        self.version = object.resource_version().or(self.version.take());
        self.backoff.reset();
    }

    /// Lists the objects in any recent state, which the server has in memory. The watch that follows delivers the
    /// changes since.
    async fn list(&mut self, client: &ApiClient) -> Result<WatchEvent<K>, Error> {
        let mut params = ListParams::default().match_any();
        params.field_selector.clone_from(&self.fields);
        let action = format!("list {}", self.objects);
        let list = client
            .without_deadline()
            .call(&action, RetrySafety::Idempotent, || self.api.list(&params))
            .await?;
        self.version = Some(list.metadata.resource_version.unwrap_or_default());
        Ok(WatchEvent::Restarted(list.items))
    }

    async fn open(&self, client: &ApiClient, version: &str) -> Result<OpenWatch<K>, Error> {
        let lifetime = LIFETIME + client.jitter().duration_up_to(SPREAD);
        let mut params = WatchParams::default().timeout(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
        params.field_selector.clone_from(&self.fields);
        let events = client
            .without_deadline()
            .call(&self.action(), RetrySafety::Idempotent, || {
                self.api.watch(&params, version)
            })
            .await?;
        let begun = Instant::now();
        Ok(OpenWatch {
            events: events.boxed(),
            begun,
            end: begun + lifetime + GRACE,
        })
    }

    /// Starts with a list again if the resource version has expired. Returns any other error.
    fn handle_error(&mut self, client: &ApiClient, error: Error) -> Result<(), Error> {
        let call_failed = self.open.is_none() && error.kind.is_outage();
        if !call_failed {
            self.close_and_pause(client);
        }
        if error.kind == ApiErrorKind::Expired {
            self.version = None;
            return Ok(());
        }
        Err(error)
    }

    /// Closes the connection. The next one is opened after a delay, which grows unless the last connection was
    /// successful or delivered an event.
    fn close_and_pause(&mut self, client: &ApiClient) {
        if self.open.take().is_some_and(|open| open.begun.elapsed() >= SUCCESSFUL) {
            self.backoff.reset();
        }
        self.not_before = Some(Instant::now() + self.backoff.next(client.jitter()));
    }
}
