//! Triggers of a new cycle: folders that change, and a containerd that starts or stops.

use mirrorshift_node::Bus;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{
    Receiver, Sender, {self},
};
use tokio::time::{Instant, timeout_at};

/// Debounce interval: a burst of events has ended when none arrives for this long.
const QUIET: Duration = Duration::from_millis(500);
/// The timeout of a call to systemd.
const CALL: Duration = Duration::from_secs(10);
/// The subscription is renewed when D-Bus sends nothing for this long.
const RENEW: Duration = Duration::from_hours(1);
/// The pause before a new attempt when D-Bus is not available.
const RECONNECT: Duration = Duration::from_mins(1);
/// A burst that does not end triggers a cycle after this time.
const LONGEST_BURST: Duration = Duration::from_secs(10);

/// Watched folders and a watched unit.
#[derive(Debug)]
pub(crate) struct Triggers {
    /// Watches until it is dropped.
    watcher: Option<RecommendedWatcher>,
    receiver: Receiver<()>,
    /// Keeps the channel open when nothing can be watched.
    sender: Sender<()>,
    /// The watched unit.
    unit: Option<String>,
    burst: Option<Burst>,
}

/// Events that have arrived and not triggered a cycle yet.
#[derive(Clone, Copy, Debug)]
struct Burst {
    /// The end, unless another event arrives.
    quiet: Instant,
    /// The end, even if events go on.
    end: Instant,
}

impl Triggers {
    /// Watches the folders. A folder that cannot be watched is observed with the heartbeat.
    pub(crate) fn of(folders: &[(&Path, RecursiveMode)]) -> Self {
        // One message is enough, because all events trigger the same cycle.
        let (sender, receiver) = mpsc::channel(1);
        let on_event = sender.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading changes nothing. A full channel already has the message.
            if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
                on_event.try_send(()).ok();
            }
        });
        let mut triggers = Self {
            watcher: watcher
                .map_err(|error| tracing::warn!("cannot watch folders: {error}"))
                .ok(),
            receiver,
            sender,
            unit: None,
            burst: None,
        };
        for (folder, mode) in folders {
            triggers.watch(folder, *mode);
        }
        triggers
    }

    /// Watches nothing: the returned sender triggers the cycles.
    #[cfg(feature = "simulation")]
    pub(crate) fn manual() -> (Sender<()>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        let triggers = Self {
            watcher: None,
            receiver,
            sender: sender.clone(),
            unit: None,
            burst: None,
        };
        (sender, triggers)
    }

    fn watch(&mut self, folder: &Path, mode: RecursiveMode) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(error) = watcher.watch(folder, mode) {
            tracing::warn!(folder = %folder.display(), "cannot watch the folder: {error}");
        }
    }

    /// Watches a unit for starts and stops. Only the first call has an effect.
    pub(crate) fn watch_unit(&mut self, unit: &str) {
        if self.unit.is_some() {
            return;
        }
        let (sender, name) = (self.sender.downgrade(), unit.to_owned());
        let listen = move || {
            while sender.strong_count() > 0 {
                if let Ok(mut ends) = Bus::connect(CALL).and_then(|bus| bus.finished_jobs(&name)) {
                    while let Ok(ended) = ends.next(RENEW) {
                        match sender.upgrade() {
                            None => return,
                            Some(sender) if ended => drop(sender.try_send(())),
                            Some(_) => {}
                        }
                    }
                }
                std::thread::sleep(RECONNECT);
            }
        };
        match std::thread::Builder::new().name("watch-unit".to_owned()).spawn(listen) {
            Ok(_thread) => self.unit = Some(unit.to_owned()),
            Err(error) => tracing::warn!("cannot watch {unit}: {error}"),
        }
    }

    /// Waits for the end of a burst of events. Cancel safe: events are not lost, and a burst is not extended by a new
    /// call.
    pub(crate) async fn next(&mut self) {
        if self.burst.is_none() && self.receiver.recv().await.is_none() {
            return;
        }
        let now = Instant::now();
        let burst = self.burst.get_or_insert(Burst {
            quiet: now + QUIET,
            end: now + LONGEST_BURST,
        });
        while let Ok(Some(())) = timeout_at(burst.end.min(burst.quiet), self.receiver.recv()).await {
            if Instant::now() >= burst.end {
                break;
            }
            burst.quiet = Instant::now() + QUIET;
        }
        self.burst = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn swapped_config_map_triggers_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..1")).unwrap();
        fs::write(path("..1").join("policy.yaml"), "a").unwrap();
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/policy.yaml", path("policy.yaml")).unwrap();
        let mut triggers = Triggers::of(&[(folder.path(), RecursiveMode::NonRecursive)]);
        let nothing = tokio::time::timeout(Duration::from_millis(300), triggers.next()).await;
        assert!(nothing.is_err(), "triggers without an event");

        // The kubelet creates a new folder and renames one link.
        fs::create_dir(path("..2")).unwrap();
        fs::write(path("..2").join("policy.yaml"), "b").unwrap();
        std::os::unix::fs::symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        fs::remove_dir_all(path("..1")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), triggers.next())
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(path("policy.yaml")).unwrap(), "b");
        let again = tokio::time::timeout(Duration::from_millis(300), triggers.next()).await;
        assert!(again.is_err(), "one swap triggers twice");
        // Reading changes nothing.
        fs::read(path("policy.yaml")).unwrap();
        let read = tokio::time::timeout(Duration::from_millis(300), triggers.next()).await;
        assert!(read.is_err(), "reading triggers");
    }

    /// A caller that also waits for something else drops this future each time that happens.
    #[tokio::test]
    async fn events_survive_a_dropped_wait() {
        let folder = tempfile::tempdir().unwrap();
        let mut triggers = Triggers::of(&[(folder.path(), RecursiveMode::NonRecursive)]);
        fs::write(folder.path().join("file"), "x").unwrap();
        let mut dropped = 0;
        while tokio::time::timeout(QUIET / 5, triggers.next()).await.is_err() {
            dropped += 1;
            assert!(dropped < 100, "the event is lost");
        }
    }

    #[tokio::test]
    async fn missing_folder_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let mut triggers = Triggers::of(&[
            (&missing, RecursiveMode::Recursive),
            (folder.path(), RecursiveMode::Recursive),
        ]);
        fs::write(folder.path().join("file"), "x").unwrap();
        tokio::time::timeout(Duration::from_secs(10), triggers.next())
            .await
            .unwrap();
    }
}
