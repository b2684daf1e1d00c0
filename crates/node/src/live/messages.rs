//! Messages of containerd and of CRI, with the fields that are read or set; others are skipped when decoding. After
//! `api/services` of containerd 1.6.20 to 2.4.2, which agree in these, and `runtime/v1/api.proto` of Kubernetes' cri-api,
//! which every containerd since 1.6.0 serves.

use super::containerd::TaskState;
use super::cri::{ContainerState, SandboxState};
use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VersionAnswer {
    #[prost(string, tag = "1")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginsAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) plugins: Vec<PluginMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginMessage {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) exports: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    pub(super) error: Option<ErrorMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectsAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) objects: Vec<ObjectMessage>,
}

/// A container, without its specification.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectMessage {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeasesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) leases: Vec<LeaseMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseMessage {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ErrorMessage {
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ServerAnswer {
    #[prost(message, repeated, tag = "4")]
    pub(super) deprecations: Vec<DeprecationMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeprecationMessage {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) statuses: Vec<IngestMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IngestMessage {
    #[prost(message, optional, tag = "2")]
    pub(super) updated: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(super) reference: String,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) total: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TasksAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) tasks: Vec<ProcessMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProcessMessage {
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(uint32, tag = "3")]
    pub(super) pid: u32,
    #[prost(enumeration = "TaskState", tag = "4")]
    pub(super) status: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RuntimeStatusAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<StatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusMessage {
    #[prost(message, repeated, tag = "1")]
    pub(super) conditions: Vec<ConditionMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConditionMessage {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(bool, tag = "2")]
    pub(super) status: bool,
    #[prost(string, tag = "3")]
    pub(super) reason: String,
    #[prost(string, tag = "4")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RuntimeVersionAnswer {
    #[prost(string, tag = "2")]
    pub(super) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(super) runtime_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SandboxesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<SandboxMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SandboxMessage {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<SandboxMetadata>,
    #[prost(enumeration = "SandboxState", tag = "3")]
    pub(super) state: i32,
    #[prost(int64, tag = "4")]
    pub(super) created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainersAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) containers: Vec<ContainerMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerMessage {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) sandbox: String,
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<ContainerMetadata>,
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub(super) state: i32,
    #[prost(int64, tag = "7")]
    pub(super) created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusQuestion {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusAnswer {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<ContainerStatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusMessage {
    #[prost(string, tag = "15")]
    pub(super) log_path: String,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageMessage {
    #[prost(string, tag = "1")]
    pub(super) image: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullQuestion {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<ImageMessage>,
}
