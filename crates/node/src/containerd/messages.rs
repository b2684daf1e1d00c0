//! Messages of containerd and of CRI, with the fields that are read or set; others are skipped when decoding. After
//! `api/services` of containerd 1.6.20 to 2.4.2, which agree in these, and `runtime/v1/api.proto` of Kubernetes' cri-api,
//! which every containerd since 1.6.0 serves.

use crate::containerd::cri::{ContainerState, SandboxState};
use crate::containerd::services::TaskState;
use prost::Message;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionAnswer {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PluginsAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) plugins: Vec<PluginMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PluginMessage {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) exports: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    pub(crate) error: Option<ErrorMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ObjectsAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) objects: Vec<ObjectMessage>,
}

/// A container, without its specification.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ObjectMessage {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeasesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) leases: Vec<LeaseMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LeaseMessage {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorMessage {
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerAnswer {
    #[prost(message, repeated, tag = "4")]
    pub(crate) deprecations: Vec<DeprecationMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeprecationMessage {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) statuses: Vec<IngestMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IngestMessage {
    #[prost(message, optional, tag = "2")]
    pub(crate) updated: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(crate) reference: String,
    #[prost(int64, tag = "4")]
    pub(crate) offset: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TasksAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) tasks: Vec<ProcessMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProcessMessage {
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(enumeration = "TaskState", tag = "4")]
    pub(crate) status: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeStatusAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<StatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatusMessage {
    #[prost(message, repeated, tag = "1")]
    pub(crate) conditions: Vec<ConditionMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConditionMessage {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(bool, tag = "2")]
    pub(crate) status: bool,
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
    #[prost(string, tag = "4")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeVersionAnswer {
    #[prost(string, tag = "2")]
    pub(crate) runtime_name: String,
    #[prost(string, tag = "3")]
    pub(crate) runtime_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxesAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) items: Vec<SandboxMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxMessage {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) metadata: Option<SandboxMetadata>,
    #[prost(enumeration = "SandboxState", tag = "3")]
    pub(crate) state: i32,
    #[prost(int64, tag = "4")]
    pub(crate) created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SandboxMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(crate) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainersAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(crate) containers: Vec<ContainerMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerMessage {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) sandbox: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) metadata: Option<ContainerMetadata>,
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub(crate) state: i32,
    #[prost(int64, tag = "7")]
    pub(crate) created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerStatusQuestion {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerStatusAnswer {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<ContainerStatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerStatusMessage {
    #[prost(string, tag = "15")]
    pub(crate) log_path: String,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageMessage {
    #[prost(string, tag = "1")]
    pub(crate) image: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PullQuestion {
    #[prost(message, optional, tag = "1")]
    pub(crate) image: Option<ImageMessage>,
}
