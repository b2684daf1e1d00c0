//! Why the agent looks again: folders that change, and a containerd that somebody has started.

use mirrorshift_node::Bus;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{
    Receiver, Sender, {self},
};
use tokio::time::{Instant, timeout_at};

/// So long it must be quiet before a storm of events is over.
const QUIET: Duration = Duration::from_millis(500);
/// For a call to systemd.
const CALL: Duration = Duration::from_secs(10);
/// A bus that says nothing is listened to anew after this, and one that is gone is tried again.
const SILENCE: Duration = Duration::from_hours(1);
const GONE: Duration = Duration::from_mins(1);
/// A storm that does not end is looked at after this.
const LONGEST: Duration = Duration::from_secs(10);

/// Folders that are watched, by one inotify watch each.
#[derive(Debug)]
pub(crate) struct Triggers {
    /// Dropped, it watches no longer.
    watcher: Option<RecommendedWatcher>,
    came: Receiver<()>,
    /// Keeps the channel open where nothing can be watched.
    tell: Sender<()>,
    /// The unit that is listened for.
    unit: Option<String>,
    storm: Option<Storm>,
}

/// Events that came and were not told of yet.
#[derive(Clone, Copy, Debug)]
struct Storm {
    /// It is over then, when nothing more comes.
    quiet: Instant,
    /// It is told of then, whatever comes.
    end: Instant,
}

impl Triggers {
    /// Watches what can be watched; the rest is looked at with the heartbeat.
    pub(crate) fn of(folders: &[(&Path, RecursiveMode)]) -> Self {
        // One is enough: it says that something came.
        let (tell, came) = mpsc::channel(1);
        let told = tell.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // What only read changed nothing. A full channel says it already.
            if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
                told.try_send(()).ok();
            }
        });
        let mut wakes = Self {
            watcher: watcher
                .map_err(|error| tracing::warn!("cannot watch folders: {error}"))
                .ok(),
            came,
            tell,
            unit: None,
            storm: None,
        };
        for (folder, mode) in folders {
            wakes.watch(folder, *mode);
        }
        wakes
    }

    /// Watches nothing: whoever has the other end says when to look.
    #[cfg(feature = "simulation")]
    pub(crate) fn manual() -> (Sender<()>, Self) {
        let (tell, came) = mpsc::channel(1);
        let wakes = Self {
            watcher: None,
            came,
            tell: tell.clone(),
            unit: None,
            storm: None,
        };
        (tell, wakes)
    }

    fn watch(&mut self, folder: &Path, mode: RecursiveMode) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(error) = watcher.watch(folder, mode) {
            tracing::warn!(folder = %folder.display(), "cannot be watched: {error}");
        }
    }

    /// Listens for starts and stops of a unit, from the first call on.
    pub(crate) fn watch_unit(&mut self, unit: &str) {
        if self.unit.is_some() {
            return;
        }
        let (tell, name) = (self.tell.downgrade(), unit.to_owned());
        let listen = move || {
            while tell.strong_count() > 0 {
                if let Ok(mut ends) = Bus::connect(CALL).and_then(|bus| bus.ends(&name)) {
                    while let Ok(ended) = ends.next(SILENCE) {
                        match tell.upgrade() {
                            None => return,
                            Some(tell) if ended => drop(tell.try_send(())),
                            Some(_) => {}
                        }
                    }
                }
                std::thread::sleep(GONE);
            }
        };
        match std::thread::Builder::new().name("listens".to_owned()).spawn(listen) {
            Ok(_runs) => self.unit = Some(unit.to_owned()),
            Err(error) => tracing::warn!("cannot listen for {unit}: {error}"),
        }
    }

    /// Waits until something changed and it is quiet again. May be dropped and called again at any time: what came is not
    /// forgotten, and no storm begins anew by it.
    pub(crate) async fn next(&mut self) {
        if self.storm.is_none() && self.came.recv().await.is_none() {
            return;
        }
        let now = Instant::now();
        let storm = self.storm.get_or_insert(Storm {
            quiet: now + QUIET,
            end: now + LONGEST,
        });
        while let Ok(Some(())) = timeout_at(storm.end.min(storm.quiet), self.came.recv()).await {
            if Instant::now() >= storm.end {
                break;
            }
            storm.quiet = Instant::now() + QUIET;
        }
        self.storm = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn a_config_map_that_is_swapped_wakes_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..1")).unwrap();
        fs::write(path("..1").join("policy.yaml"), "a").unwrap();
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/policy.yaml", path("policy.yaml")).unwrap();
        let mut wakes = Triggers::of(&[(folder.path(), RecursiveMode::NonRecursive)]);
        let nothing = tokio::time::timeout(Duration::from_millis(300), wakes.next()).await;
        assert!(nothing.is_err(), "it wakes for nothing");

        // As the kubelet does it: a new folder, and one rename.
        fs::create_dir(path("..2")).unwrap();
        fs::write(path("..2").join("policy.yaml"), "b").unwrap();
        std::os::unix::fs::symlink("..2", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        fs::remove_dir_all(path("..1")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), wakes.next())
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(path("policy.yaml")).unwrap(), "b");
        let again = tokio::time::timeout(Duration::from_millis(300), wakes.next()).await;
        assert!(again.is_err(), "one swap wakes twice");
        // Reading is no change.
        fs::read(path("policy.yaml")).unwrap();
        let read = tokio::time::timeout(Duration::from_millis(300), wakes.next()).await;
        assert!(read.is_err(), "reading wakes");
    }

    /// Whoever waits for something else as well drops this wait each time that comes.
    #[tokio::test]
    async fn what_came_outlasts_a_wait_that_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut wakes = Triggers::of(&[(folder.path(), RecursiveMode::NonRecursive)]);
        fs::write(folder.path().join("file"), "x").unwrap();
        let mut dropped = 0;
        while tokio::time::timeout(QUIET / 5, wakes.next()).await.is_err() {
            dropped += 1;
            assert!(dropped < 100, "it is never told of");
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut wakes = Triggers::of(&[
            (&gone, RecursiveMode::Recursive),
            (folder.path(), RecursiveMode::Recursive),
        ]);
        fs::write(folder.path().join("file"), "x").unwrap();
        tokio::time::timeout(Duration::from_secs(10), wakes.next())
            .await
            .unwrap();
    }
}
