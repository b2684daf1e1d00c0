//! containerd's own services: version, plugins, deprecations, downloads and tasks.

use crate::containerd::messages::{
    ContainerRecord, ContentStatus, DeprecationWarning, Empty, ListContainerRecordsResponse, ListLeasesResponse,
    ListStatusesResponse, ListTasksResponse, PluginMessage, PluginsResponse, ProcessMessage, ServerResponse, TaskState,
    VersionResponse,
};
use crate::containerd::socket::{CallError, Socket};
use crate::error_text::redact_message;
use serde::Serialize;

/// The containerd namespace of CRI (`constants.K8sContainerdNamespace`).
const NAMESPACE: &str = "k8s.io";

/// A plugin of the running containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plugin {
    /// The type, such as `io.containerd.grpc.v1`.
    pub kind: String,
    /// The name, such as `cri`.
    pub id: String,
    /// The result of loading the plugin.
    pub status: PluginStatus,
}

/// The result of loading a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginStatus {
    /// The plugin loaded.
    Ok,
    /// The plugin skipped itself for this reason, which is not an error. An example is `snapshotter.v1/zfs` on a node
    /// without ZFS.
    Skipped(String),
    /// The plugin failed for this reason.
    Failed(String),
}

/// An entry of containerd's list of deprecated settings that are in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deprecation {
    /// The identifier, such as `io.containerd.deprecation/cri-registry-mirrors`.
    pub id: String,
    /// containerd's message.
    pub message: String,
}

/// Content that containerd is downloading, such as the layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ingest {
    /// The name, such as `layer-sha256:…`.
    pub reference: String,
    /// The number of bytes received.
    pub offset: i64,
    /// The expected number of bytes; 0 if it is unknown.
    pub total: i64,
    /// The time of the last byte: seconds since 1970. An old time may mean that the download was abandoned.
    pub updated: Option<i64>,
}

/// The process of a container or sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The id of the container or sandbox.
    pub id: String,
    /// The first process.
    pub pid: u32,
    /// The state of the task.
    pub state: TaskState,
}

/// The plugins, and two properties of containerd that only their list shows.
#[derive(Debug)]
pub(crate) struct PluginReport {
    pub(crate) plugins: Vec<Plugin>,
    /// The folder in which the running containerd keeps its data; `None` if the list does not show it.
    pub(crate) root: Option<String>,
    /// True if this release keeps a list of deprecations.
    pub(crate) has_deprecations: bool,
}

impl Socket {
    /// Reads containerd's version as its build names it: `1.6.20~ds1`, `v2.4.2`.
    ///
    /// # Errors
    /// The [`CallError`] of the call.
    pub fn version(&mut self) -> Result<String, CallError> {
        let response: VersionResponse = self.call("/containerd.services.version.v1.Version/Version", None, Empty {})?;
        Ok(response.version)
    }

    /// Lists the plugins of the running containerd, and whether each loaded.
    ///
    /// # Errors
    /// The [`CallError`] of the call.
    pub fn plugins(&mut self) -> Result<Vec<Plugin>, CallError> {
        self.plugin_report().map(|report| report.plugins)
    }

    pub(crate) fn plugin_report(&mut self) -> Result<PluginReport, CallError> {
        let method = "/containerd.services.introspection.v1.Introspection/Plugins";
        let response: PluginsResponse = self.call(method, None, Empty {})?;
        Ok(PluginReport {
            root: data_folder(&response.plugins),
            // The service that has the list requires this plugin in every release that has it: 1.6.25, 1.7.9, 2.0 and
            // newer.
            has_deprecations: response
                .plugins
                .iter()
                .any(|plugin| plugin.r#type == "io.containerd.warning.v1"),
            plugins: response.plugins.into_iter().map(Plugin::from).collect(),
        })
    }

    /// Lists the deprecated settings that containerd found in its configuration. A release without that list answers
    /// with an empty one; `PluginReport::has_deprecations` distinguishes the two cases.
    ///
    /// # Errors
    /// The [`CallError`] of the call.
    pub fn deprecations(&mut self) -> Result<Vec<Deprecation>, CallError> {
        let method = "/containerd.services.introspection.v1.Introspection/Server";
        let response: ServerResponse = self.call(method, None, Empty {})?;
        let entry = |entry: DeprecationWarning| Deprecation {
            id: entry.id,
            message: redact_message(&entry.message),
        };
        Ok(response.deprecations.into_iter().map(entry).collect())
    }

    /// Lists the downloads of CRI that are in progress.
    ///
    /// # Errors
    /// The [`CallError`] of the call.
    pub fn ingests(&mut self) -> Result<Vec<Ingest>, CallError> {
        let method = "/containerd.services.content.v1.Content/ListStatuses";
        let response: ListStatusesResponse = self.call(method, Some(NAMESPACE), Empty {})?;
        let ingest = |status: ContentStatus| Ingest {
            reference: status.r#ref,
            offset: status.offset,
            total: status.total,
            updated: status.updated_at.map(|time| time.seconds),
        };
        Ok(response.statuses.into_iter().map(ingest).collect())
    }

    /// Lists the processes of CRI's containers and sandboxes, ordered by their ids. A single shim that hangs delays the
    /// call until its deadline.
    ///
    /// # Errors
    /// The [`CallError`] of the call.
    pub fn tasks(&mut self) -> Result<Vec<Task>, CallError> {
        let method = "/containerd.services.tasks.v1.Tasks/List";
        let response: ListTasksResponse = self.call(method, Some(NAMESPACE), Empty {})?;
        let task = |process: ProcessMessage| Task {
            state: process.status(),
            id: process.id,
            pid: process.pid,
        };
        let mut tasks: Vec<Task> = response.tasks.into_iter().map(task).collect();
        tasks.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(tasks)
    }

    /// Lists the ids of sandboxes and containers that CRI has begun to create, including those that CRI does not list
    /// yet.
    pub(crate) fn created_ids(&mut self) -> Result<Vec<String>, CallError> {
        let method = "/containerd.services.containers.v1.Containers/List";
        let records: ListContainerRecordsResponse = self.call(method, Some(NAMESPACE), Empty {})?;
        let method = "/containerd.services.leases.v1.Leases/List";
        let leases: ListLeasesResponse = self.call(method, Some(NAMESPACE), Empty {})?;
        Ok(created_ids(records, leases))
    }
}

/// Up to 1.7, CRI creates the container record of a sandbox before its network. Since 2.0 it creates a lease with the
/// sandbox's id first, and the record later. Leases with other names belong to downloads.
fn created_ids(records: ListContainerRecordsResponse, leases: ListLeasesResponse) -> Vec<String> {
    let is_of_cri = |record: &ContainerRecord| record.labels.contains_key("io.cri-containerd.kind");
    let is_id = |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let records = records.containers.into_iter().filter(is_of_cri).map(|record| record.id);
    let leases = leases.leases.into_iter().map(|lease| lease.id).filter(is_id);
    let mut ids: Vec<String> = records.chain(leases).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Derives containerd's data folder from the path of its database, which the metadata plugin exports in every release.
fn data_folder(plugins: &[PluginMessage]) -> Option<String> {
    const DATABASE: &str = "/io.containerd.metadata.v1.bolt/meta.db";
    let bolt = plugins
        .iter()
        .find(|plugin| plugin.r#type == "io.containerd.metadata.v1")?;
    let path = bolt.exports.get("path")?;
    path.strip_suffix(DATABASE).map(str::to_owned)
}

impl From<PluginMessage> for Plugin {
    fn from(message: PluginMessage) -> Self {
        let status = match message.init_err {
            None => PluginStatus::Ok,
            // The text of Go's `plugin.ErrSkipPlugin`. Such a plugin wraps it with a reason before or after it.
            Some(error) if error.message.contains("skip plugin") => {
                PluginStatus::Skipped(redact_message(&error.message))
            }
            Some(error) => PluginStatus::Failed(redact_message(&error.message)),
        };
        Self {
            kind: message.r#type,
            id: message.id,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::messages::{Lease, RpcStatus};

    fn plugin(kind: &str, exports: &[(&str, &str)], error: Option<&str>) -> PluginMessage {
        PluginMessage {
            r#type: kind.to_owned(),
            id: "x".to_owned(),
            exports: exports
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            init_err: error.map(|message| RpcStatus {
                message: message.to_owned(),
            }),
        }
    }

    #[test]
    fn data_folder_is_derived_from_the_path_of_the_database() {
        let bolt = |path| plugin("io.containerd.metadata.v1", &[("path", path)], None);
        let usual = bolt("/data/containerd/io.containerd.metadata.v1.bolt/meta.db");
        assert_eq!(data_folder(&[usual]).as_deref(), Some("/data/containerd"));
        assert_eq!(data_folder(&[bolt("/elsewhere/meta.db")]), None);
        assert_eq!(data_folder(&[]), None);
    }

    #[test]
    fn created_ids_are_only_those_of_cri() {
        let record = |id: &str, label: &str| ContainerRecord {
            id: id.to_owned(),
            labels: [(label.to_owned(), "sandbox".to_owned())].into(),
        };
        let (first, second) = ("a".repeat(64), "b".repeat(64));
        let containers = vec![record(&first, "io.cri-containerd.kind"), record("by-hand", "other")];
        let leases = [&second, &first, "1795277165-Zx"].map(|id: &str| Lease { id: id.to_owned() });
        let leases = ListLeasesResponse { leases: leases.into() };
        assert_eq!(
            created_ids(ListContainerRecordsResponse { containers }, leases),
            [first, second]
        );
    }

    #[test]
    fn plugin_status_distinguishes_skipped_from_failed() {
        let status = |error| Plugin::from(plugin("k", &[], error)).status;
        assert_eq!(status(None), PluginStatus::Ok);
        let zfs = "path /var/lib/containerd/io.containerd.snapshotter.v1.zfs must be a zfs filesystem: skip plugin";
        assert_eq!(status(Some(zfs)), PluginStatus::Skipped(zfs.to_owned()));
        let both = "invalid plugin config: `mirrors` cannot be set when `config_path` is provided";
        assert_eq!(status(Some(both)), PluginStatus::Failed(both.to_owned()));
    }
}
