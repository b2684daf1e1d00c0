//! CRI, as kubelet asks it. Messages are after `runtime/v1/api.proto` of Kubernetes' cri-api, which every containerd
//! since 1.6.0 serves.

use super::known::said;
use super::socket::{CallError, Socket};
use prost::{Enumeration, Message};
use serde::Serialize;

/// What CRI says of itself. Ready is both; without a network plugin the runtime can be ready alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CriStatus {
    /// Whether sandboxes can be made.
    pub runtime: Condition,
    /// Whether they get a network.
    pub network: Condition,
}

/// One condition of CRI; absent ones are not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Whether it holds.
    pub ready: bool,
    /// A word for why not.
    pub reason: String,
    /// A sentence for it.
    pub message: String,
}

/// A pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    /// Its id, which is that of its task too.
    pub id: String,
    /// The pod's.
    pub namespace: String,
    /// The pod's.
    pub name: String,
    /// How often it was made anew.
    pub attempt: u32,
    /// Whether it serves.
    pub state: SandboxState,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: i64,
}

/// Whether a sandbox serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum SandboxState {
    /// It does.
    Ready = 0,
    /// It does not: over, or being made.
    NotReady = 1,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its id, which is that of its task too.
    pub id: String,
    /// Its pod's sandbox.
    pub sandbox: String,
    /// Its name in the pod.
    pub name: String,
    /// How often it was started anew.
    pub attempt: u32,
    /// What it does.
    pub state: ContainerState,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: i64,
    /// The file that its output goes to; empty for none.
    pub log_path: String,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Enumeration)]
#[serde(rename_all = "snake_case")]
#[repr(i32)]
pub enum ContainerState {
    /// Not started yet.
    Created = 0,
    /// At work.
    Running = 1,
    /// Over.
    Exited = 2,
    /// containerd lost sight of it.
    Unknown = 3,
}

impl Socket {
    /// CRI's conditions. [`CallError::NotServed`] is a CRI whose plugin did not load.
    pub fn cri_status(&mut self) -> Result<CriStatus, CallError> {
        let answer: StatusAnswer = self.call("/runtime.v1.RuntimeService/Status", None, Empty {})?;
        let conditions = answer.status.unwrap_or_default().conditions;
        Ok(CriStatus {
            runtime: condition(&conditions, "RuntimeReady"),
            network: condition(&conditions, "NetworkReady"),
        })
    }

    /// The name and version that CRI gives for its runtime.
    pub fn cri_version(&mut self) -> Result<(String, String), CallError> {
        let answer: VersionAnswer = self.call("/runtime.v1.RuntimeService/Version", None, Empty {})?;
        Ok((answer.runtime_name, answer.runtime_version))
    }

    /// Every sandbox, of whatever state.
    pub fn sandboxes(&mut self) -> Result<Vec<Sandbox>, CallError> {
        let answer: SandboxesAnswer = self.call("/runtime.v1.RuntimeService/ListPodSandbox", None, Empty {})?;
        Ok(answer.items.into_iter().map(SandboxMessage::read).collect())
    }

    /// Every container, of whatever state. The logs cost a call for each container.
    pub fn containers(&mut self) -> Result<Vec<Container>, CallError> {
        let answer: ContainersAnswer = self.call("/runtime.v1.RuntimeService/ListContainers", None, Empty {})?;
        let mut containers = Vec::with_capacity(answer.containers.len());
        for message in answer.containers {
            let id = message.id.clone();
            let asked = ContainerStatusQuestion { id };
            let status: Result<ContainerStatusAnswer, _> =
                self.call("/runtime.v1.RuntimeService/ContainerStatus", None, asked);
            match status {
                Ok(status) => containers.push(message.read(status.status.unwrap_or_default().log_path)),
                // Removed since the list was made.
                Err(CallError::Failed { code, .. }) if code == "NotFound" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(containers)
    }
}

fn condition(conditions: &[ConditionMessage], kind: &str) -> Condition {
    let named = conditions.iter().find(|condition| condition.kind == kind);
    named.map_or_else(
        || Condition {
            reason: "Absent".to_owned(),
            message: format!("CRI has no condition `{kind}`"),
            ready: false,
        },
        |condition| Condition {
            ready: condition.status,
            reason: condition.reason.clone(),
            message: said(&condition.message),
        },
    )
}

impl SandboxMessage {
    fn read(self) -> Sandbox {
        // A number of another release's is nothing to rely on.
        let state = SandboxState::try_from(self.state).unwrap_or(SandboxState::NotReady);
        let metadata = self.metadata.unwrap_or_default();
        Sandbox {
            id: self.id,
            namespace: metadata.namespace,
            name: metadata.name,
            attempt: metadata.attempt,
            state,
            created_ns: self.created_at,
        }
    }
}

impl ContainerMessage {
    fn read(self, log_path: String) -> Container {
        let state = ContainerState::try_from(self.state).unwrap_or(ContainerState::Unknown);
        let metadata = self.metadata.unwrap_or_default();
        Container {
            id: self.id,
            sandbox: self.sandbox,
            name: metadata.name,
            attempt: metadata.attempt,
            state,
            created_ns: self.created_at,
            log_path,
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<StatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusMessage {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<ConditionMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ConditionMessage {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct VersionAnswer {
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(string, tag = "3")]
    runtime_version: String,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxesAnswer {
    #[prost(message, repeated, tag = "1")]
    items: Vec<SandboxMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<SandboxMetadata>,
    #[prost(enumeration = "SandboxState", tag = "3")]
    state: i32,
    #[prost(int64, tag = "4")]
    created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(uint32, tag = "4")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ContainersAnswer {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    sandbox: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<ContainerMetadata>,
    #[prost(enumeration = "ContainerState", tag = "6")]
    state: i32,
    #[prost(int64, tag = "7")]
    created_at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusQuestion {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusAnswer {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatusMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusMessage {
    #[prost(string, tag = "15")]
    log_path: String,
}
