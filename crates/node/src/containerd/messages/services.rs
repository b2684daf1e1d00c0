//! Messages of containerd's own services.

#![expect(missing_docs, reason = "the protos document the messages and their fields")]

use prost::{Enumeration, Message};
use serde::Serialize;
use std::collections::BTreeMap;

/// `containerd.services.version.v1.VersionResponse`, `api/services/version/v1/version.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct VersionResponse {
    #[prost(string, tag = "1")]
    pub version: String,
}

/// `containerd.services.introspection.v1.PluginsResponse`, `api/services/introspection/v1/introspection.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct PluginsResponse {
    #[prost(message, repeated, tag = "1")]
    pub plugins: Vec<PluginMessage>,
}

/// `containerd.services.introspection.v1.Plugin`, in the same file.
#[derive(Clone, PartialEq, Message)]
pub struct PluginMessage {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub exports: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    pub init_err: Option<RpcStatus>,
}

/// `google.rpc.Status`, `google/rpc/status.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `containerd.services.introspection.v1.ServerResponse`, in the same file as `PluginsResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ServerResponse {
    #[prost(message, repeated, tag = "4")]
    pub deprecations: Vec<DeprecationWarning>,
}

/// `containerd.services.introspection.v1.DeprecationWarning`, in the same file.
#[derive(Clone, PartialEq, Message)]
pub struct DeprecationWarning {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `containerd.services.content.v1.ListStatusesResponse`, `api/services/content/v1/content.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ListStatusesResponse {
    #[prost(message, repeated, tag = "1")]
    pub statuses: Vec<ContentStatus>,
}

/// `containerd.services.content.v1.Status`, in the same file.
#[derive(Clone, PartialEq, Message)]
pub struct ContentStatus {
    #[prost(message, optional, tag = "2")]
    pub updated_at: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub r#ref: String,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub total: i64,
}

/// `google.protobuf.Timestamp`, `google/protobuf/timestamp.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

/// `containerd.services.containers.v1.ListContainersResponse`, `api/services/containers/v1/containers.proto`. CRI has a
/// message of the same name.
#[derive(Clone, PartialEq, Message)]
pub struct ListContainerRecordsResponse {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<ContainerRecord>,
}

/// `containerd.services.containers.v1.Container`, in the same file.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: BTreeMap<String, String>,
}

/// `containerd.services.leases.v1.ListResponse`, `api/services/leases/v1/leases.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ListLeasesResponse {
    #[prost(message, repeated, tag = "1")]
    pub leases: Vec<Lease>,
}

/// `containerd.services.leases.v1.Lease`, in the same file.
#[derive(Clone, PartialEq, Message)]
pub struct Lease {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `containerd.services.tasks.v1.ListTasksResponse`, `api/services/tasks/v1/tasks.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ListTasksResponse {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<ProcessMessage>,
}

/// `containerd.v1.types.Process`, `api/types/task/task.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessMessage {
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(enumeration = "TaskState", tag = "4")]
    pub status: i32,
}

/// The state of a task: `containerd.v1.types.Status`, `api/types/task/task.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum TaskState {
    /// The shim did not report the state.
    Unknown = 0,
    /// The task has not started yet.
    Created = 1,
    /// The task runs.
    Running = 2,
    /// The task has ended.
    Stopped = 3,
    /// The task is frozen.
    Paused = 4,
    /// The task is being frozen.
    Pausing = 5,
}
