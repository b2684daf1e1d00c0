//! Messages of CRI and of containerd's own services, written by hand, so that a build needs no `protoc`.
//!
//! Each message has the name from its proto, with one exception: a name that another type of this crate has ends in
//! `Message`. It lists the fields that this crate or the lab of the tests reads or sets; prost skips all others when it
//! decodes. Field numbers never change within a version of a protocol. They were read in these files:
//!
//! - `runtime.v1`: `pkg/apis/runtime/v1/api.proto` of `k8s.io/cri-api`, which every containerd since 1.6.0 serves;
//! - `containerd.services.*.v1` and `containerd.v1.types`: `api/services/*/v1/*.proto` and `api/types/**/*.proto` of
//!   containerd 1.6.20 to 2.4.2, which agree in these fields.

#![expect(missing_docs, reason = "the protos document the messages and their fields")]

use prost::{Enumeration, Message};
use serde::Serialize;
use std::collections::BTreeMap;

/// An empty message: `google.protobuf.Empty`, and a request or response whose fields are all left out.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

// CRI: `runtime.v1`, `api.proto`.

/// The answer to `runtime.v1.RuntimeService/Version`.
#[derive(Clone, PartialEq, Message)]
pub struct RuntimeVersionResponse {
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

/// `runtime.v1.StatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}

/// `runtime.v1.RuntimeStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// `runtime.v1.RuntimeCondition`.
#[derive(Clone, PartialEq, Message)]
pub struct RuntimeCondition {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(bool, tag = "2")]
    pub status: bool,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub message: String,
}

/// `runtime.v1.ListPodSandboxResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandboxMessage>,
}

/// `runtime.v1.PodSandbox`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxMessage {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(enumeration = "SandboxState", tag = "3")]
    pub state: i32,
    #[prost(int64, tag = "4")]
    pub created_at: i64,
}

/// `runtime.v1.PodSandboxMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// The state of a sandbox: `runtime.v1.PodSandboxState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum SandboxState {
    /// The sandbox serves.
    Ready = 0,
    /// The sandbox does not serve: it has ended, or it is being created.
    NotReady = 1,
}

/// `runtime.v1.PodSandboxStatusRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// `runtime.v1.PodSandboxStatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

/// `runtime.v1.PodSandboxStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatus {
    #[prost(enumeration = "SandboxState", tag = "3")]
    pub state: i32,
}

/// `runtime.v1.RunPodSandboxRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
}

/// `runtime.v1.RunPodSandboxResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct RunPodSandboxResponse {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// `runtime.v1.PodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "2")]
    pub hostname: String,
    #[prost(string, tag = "3")]
    pub log_directory: String,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// `runtime.v1.LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct LinuxPodSandboxConfig {
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxSandboxSecurityContext>,
}

/// `runtime.v1.LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, Message)]
pub struct LinuxSandboxSecurityContext {
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
}

/// `runtime.v1.NamespaceOption`.
#[derive(Clone, PartialEq, Message)]
pub struct NamespaceOption {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub network: i32,
}

/// `runtime.v1.NamespaceMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    Pod = 0,
    Container = 1,
    Node = 2,
}

/// `runtime.v1.ListContainersResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<ContainerMessage>,
}

/// `runtime.v1.Container`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerMessage {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub state: i32,
    #[prost(int64, tag = "7")]
    pub created_at: i64,
}

/// `runtime.v1.ContainerMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// The state of a container: `runtime.v1.ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum ContainerState {
    /// The container has not started yet.
    Created = 0,
    /// The container runs.
    Running = 1,
    /// The container has ended.
    Exited = 2,
    /// containerd does not know the state.
    Unknown = 3,
}

/// `runtime.v1.ContainerStatusRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatusRequest {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// `runtime.v1.ContainerStatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

/// `runtime.v1.ContainerStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    #[prost(enumeration = "ContainerState", tag = "3")]
    pub state: i32,
    #[prost(string, tag = "15")]
    pub log_path: String,
}

/// `runtime.v1.CreateContainerRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// `runtime.v1.CreateContainerResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerResponse {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `runtime.v1.ContainerConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    #[prost(string, tag = "11")]
    pub log_path: String,
}

/// `runtime.v1.StartContainerRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct StartContainerRequest {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `runtime.v1.ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    #[prost(string, tag = "1")]
    pub image: String,
}

/// `runtime.v1.ListImagesResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// `runtime.v1.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub repo_digests: Vec<String>,
}

/// `runtime.v1.ImageStatusRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusRequest {
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// `runtime.v1.ImageStatusResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
}

/// `runtime.v1.PullImageRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    pub auth: Option<AuthConfig>,
}

/// `runtime.v1.AuthConfig`.
#[derive(Clone, PartialEq, Message)]
pub struct AuthConfig {
    #[prost(string, tag = "1")]
    pub username: String,
    #[prost(string, tag = "2")]
    pub password: String,
    #[prost(string, tag = "4")]
    pub server_address: String,
}

/// `runtime.v1.PullImageResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct PullImageResponse {
    #[prost(string, tag = "1")]
    pub image_ref: String,
}

// containerd's own services.

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
