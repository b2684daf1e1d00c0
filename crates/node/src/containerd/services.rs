//! containerd's own services: its version, its plugins, what it calls deprecated, what it downloads, and its tasks.

use crate::containerd::messages::{
    DeprecationMessage, Empty, IngestMessage, LeasesAnswer, ObjectMessage, ObjectsAnswer, PluginMessage, PluginsAnswer,
    ProcessMessage, ServerAnswer, StatusesAnswer, TasksAnswer, VersionAnswer,
};
use crate::containerd::socket::{CallError, Socket};
use crate::facts::fact::{Fact, describe};
use prost::Enumeration;
use serde::Serialize;

/// Where CRI keeps its content and its tasks (`constants.K8sContainerdNamespace`).
const NAMESPACE: &str = "k8s.io";

/// A plugin as the running daemon loaded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plugin {
    /// Such as `io.containerd.grpc.v1`.
    pub kind: String,
    /// Such as `cri`.
    pub id: String,
    /// Whether it loaded.
    pub status: PluginStatus,
}

/// Whether a plugin loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginStatus {
    /// It did.
    Ok,
    /// It asked to be left out: nothing is wrong. `snapshotter.v1/zfs` on a node without ZFS, for one.
    Skipped(String),
    /// It failed, for this reason.
    Failed(String),
}

/// An entry of containerd's own list of deprecated settings in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deprecation {
    /// Such as `io.containerd.deprecation/cri-registry-mirrors`.
    pub id: String,
    /// In containerd's words.
    pub message: String,
}

/// Content that is being written: a layer of an image that is pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ingest {
    /// Its name, such as `layer-sha256:…`.
    pub reference: String,
    /// Bytes that are there.
    pub offset: i64,
    /// Bytes that there will be; 0 when nobody said.
    pub total: i64,
    /// When the last byte came: seconds since 1970. An ingest that does not move may be a leftover.
    pub updated: Option<i64>,
}

/// The process of a container or sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The container's or sandbox's id.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// What it does.
    pub state: TaskState,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum TaskState {
    /// Its shim did not say.
    Unknown = 0,
    /// Not started yet.
    Created = 1,
    /// At work.
    Running = 2,
    /// Over.
    Stopped = 3,
    /// Frozen.
    Paused = 4,
    /// Being frozen.
    Pausing = 5,
}

/// What the plugins' list says beside their states.
#[derive(Debug)]
pub(crate) struct PluginReport {
    pub(crate) plugins: Vec<Plugin>,
    /// The folder that the running daemon keeps its data in.
    pub(crate) root: Fact<String>,
    /// Whether it keeps a list of deprecations at all.
    pub(crate) has_deprecations: bool,
}

impl Socket {
    /// containerd's version, as its build names it: `1.6.20~ds1`, `v2.4.2`.
    pub fn version(&mut self) -> Result<String, CallError> {
        let answer: VersionAnswer = self.call("/containerd.services.version.v1.Version/Version", None, Empty {})?;
        Ok(answer.version)
    }

    /// The plugins that the daemon was built with, and whether each loaded.
    pub fn plugins(&mut self) -> Result<Vec<Plugin>, CallError> {
        self.loaded().map(|loaded| loaded.plugins)
    }

    pub(crate) fn loaded(&mut self) -> Result<PluginReport, CallError> {
        let method = "/containerd.services.introspection.v1.Introspection/Plugins";
        let answer: PluginsAnswer = self.call(method, None, Empty {})?;
        Ok(PluginReport {
            root: root(&answer.plugins),
            // The service of the list requires this plugin wherever it has the list: 1.6.25, 1.7.9, 2.0 and newer.
            has_deprecations: answer
                .plugins
                .iter()
                .any(|plugin| plugin.kind == "io.containerd.warning.v1"),
            plugins: answer.plugins.into_iter().map(PluginMessage::read).collect(),
        })
    }

    /// What containerd calls deprecated in its configuration. A release without that list answers with an empty one:
    /// `Facts` tells the two apart by the plugin that keeps it.
    pub fn deprecations(&mut self) -> Result<Vec<Deprecation>, CallError> {
        let method = "/containerd.services.introspection.v1.Introspection/Server";
        let answer: ServerAnswer = self.call(method, None, Empty {})?;
        let entry = |entry: DeprecationMessage| Deprecation {
            id: entry.id,
            message: describe(&entry.message),
        };
        Ok(answer.deprecations.into_iter().map(entry).collect())
    }

    /// What is being downloaded for CRI.
    pub fn ingests(&mut self) -> Result<Vec<Ingest>, CallError> {
        let method = "/containerd.services.content.v1.Content/ListStatuses";
        let answer: StatusesAnswer = self.call(method, Some(NAMESPACE), Empty {})?;
        let ingest = |status: IngestMessage| Ingest {
            reference: status.reference,
            offset: status.offset,
            total: status.total,
            updated: status.updated.map(|at| at.seconds),
        };
        Ok(answer.statuses.into_iter().map(ingest).collect())
    }

    /// The processes of CRI's containers and sandboxes, by id. One shim that hangs holds this up.
    pub fn tasks(&mut self) -> Result<Vec<Task>, CallError> {
        let method = "/containerd.services.tasks.v1.Tasks/List";
        let answer: TasksAnswer = self.call(method, Some(NAMESPACE), Empty {})?;
        let task = |process: ProcessMessage| Task {
            state: process.status(),
            id: process.id,
            pid: process.pid,
        };
        let mut tasks: Vec<Task> = answer.tasks.into_iter().map(task).collect();
        tasks.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(tasks)
    }

    /// The sandboxes and containers that CRI has begun to make, whether it lists them yet or not.
    pub(crate) fn begun(&mut self) -> Result<Vec<String>, CallError> {
        let method = "/containerd.services.containers.v1.Containers/List";
        let objects: ObjectsAnswer = self.call(method, Some(NAMESPACE), Empty {})?;
        let method = "/containerd.services.leases.v1.Leases/List";
        let leases: LeasesAnswer = self.call(method, Some(NAMESPACE), Empty {})?;
        Ok(begun(objects, leases))
    }
}

/// Up to 1.7 CRI makes a sandbox's container before its network; since 2.0 it makes a lease of the sandbox's name then, and
/// the container afterwards. Leases of other names are of downloads.
fn begun(objects: ObjectsAnswer, leases: LeasesAnswer) -> Vec<String> {
    let of_cri = |object: &ObjectMessage| object.labels.contains_key("io.cri-containerd.kind");
    let is_id = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let objects = objects.objects.into_iter().filter(of_cri).map(|object| object.id);
    let leases = leases.leases.into_iter().map(|lease| lease.id).filter(is_id);
    let mut ids: Vec<String> = objects.chain(leases).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// From the place of the database, which the plugin of metadata exports in every release.
fn root(plugins: &[PluginMessage]) -> Fact<String> {
    const DATABASE: &str = "/io.containerd.metadata.v1.bolt/meta.db";
    let bolt = plugins.iter().find(|plugin| plugin.kind == "io.containerd.metadata.v1");
    let path = bolt.and_then(|plugin| plugin.exports.get("path"));
    match path.and_then(|path| path.strip_suffix(DATABASE)) {
        Some(root) => Fact::Value(root.to_owned()),
        None => Fact::unknown("containerd does not tell where its database lies"),
    }
}

impl PluginMessage {
    fn read(self) -> Plugin {
        let status = match self.error {
            None => PluginStatus::Ok,
            // Go's text of `plugin.ErrSkipPlugin`, which such a plugin wraps with its reason before or behind it.
            Some(error) if error.message.contains("skip plugin") => PluginStatus::Skipped(describe(&error.message)),
            Some(error) => PluginStatus::Failed(describe(&error.message)),
        };
        Plugin {
            kind: self.kind,
            id: self.id,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::messages::{ErrorMessage, LeaseMessage};

    fn plugin(kind: &str, exports: &[(&str, &str)], error: Option<&str>) -> PluginMessage {
        PluginMessage {
            kind: kind.to_owned(),
            id: "x".to_owned(),
            exports: exports
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            error: error.map(|message| ErrorMessage {
                message: message.to_owned(),
            }),
        }
    }

    #[test]
    fn the_root_is_where_the_database_lies() {
        let bolt = |path| plugin("io.containerd.metadata.v1", &[("path", path)], None);
        let usual = bolt("/data/containerd/io.containerd.metadata.v1.bolt/meta.db");
        assert_eq!(root(&[usual]), Fact::Value("/data/containerd".to_owned()));
        assert!(root(&[bolt("/elsewhere/meta.db")]).known().is_none());
        assert!(root(&[]).known().is_none());
    }

    #[test]
    fn what_cri_has_begun_is_told_from_what_others_made() {
        let object = |id: &str, label: &str| ObjectMessage {
            id: id.to_owned(),
            labels: [(label.to_owned(), "sandbox".to_owned())].into(),
        };
        let (one, two) = ("a".repeat(64), "b".repeat(64));
        let objects = vec![object(&one, "io.cri-containerd.kind"), object("by-hand", "other")];
        let leases = [&two, &one, "1795277165-Zx"].map(|id: &str| LeaseMessage { id: id.to_owned() });
        let leases = LeasesAnswer { leases: leases.into() };
        assert_eq!(begun(ObjectsAnswer { objects }, leases), [one, two]);
    }

    #[test]
    fn skipped_is_not_failed() {
        let status = |error| plugin("k", &[], error).read().status;
        assert_eq!(status(None), PluginStatus::Ok);
        let zfs = "path /var/lib/containerd/io.containerd.snapshotter.v1.zfs must be a zfs filesystem: skip plugin";
        assert_eq!(status(Some(zfs)), PluginStatus::Skipped(zfs.to_owned()));
        let both = "invalid plugin config: `mirrors` cannot be set when `config_path` is provided";
        assert_eq!(status(Some(both)), PluginStatus::Failed(both.to_owned()));
    }
}
