//! CRI, as kubelet asks it.

use crate::containerd::messages::{
    ConditionMessage, ContainerMessage, ContainerStatusAnswer, ContainerStatusQuestion, ContainersAnswer, Empty,
    ImageMessage, PullQuestion, RuntimeStatusAnswer, RuntimeVersionAnswer, SandboxMessage, SandboxesAnswer,
};
use crate::containerd::socket::{CallError, Socket};
use crate::facts::fact::describe;
use prost::Enumeration;
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
pub struct PodSandbox {
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
        let answer: RuntimeStatusAnswer = self.call("/runtime.v1.RuntimeService/Status", None, Empty {})?;
        let conditions = answer.status.unwrap_or_default().conditions;
        Ok(CriStatus {
            runtime: condition(&conditions, "RuntimeReady"),
            network: condition(&conditions, "NetworkReady"),
        })
    }

    /// The name and version that CRI gives for its runtime.
    pub fn cri_version(&mut self) -> Result<(String, String), CallError> {
        let answer: RuntimeVersionAnswer = self.call("/runtime.v1.RuntimeService/Version", None, Empty {})?;
        Ok((answer.runtime_name, answer.runtime_version))
    }

    /// Pulls an image, as kubelet does without secrets. The connection's time bounds the whole pull.
    pub(crate) fn pull(&mut self, image: &str) -> Result<(), CallError> {
        let image = Some(ImageMessage {
            image: image.to_owned(),
        });
        let asked = PullQuestion { image };
        let answer: Result<Empty, _> = self.call("/runtime.v1.ImageService/PullImage", None, asked);
        answer.map(drop)
    }

    /// Every sandbox, of whatever state, by id.
    pub fn sandboxes(&mut self) -> Result<Vec<PodSandbox>, CallError> {
        let answer: SandboxesAnswer = self.call("/runtime.v1.RuntimeService/ListPodSandbox", None, Empty {})?;
        let mut sandboxes: Vec<PodSandbox> = answer.items.into_iter().map(SandboxMessage::read).collect();
        sandboxes.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(sandboxes)
    }

    /// Every container, of whatever state, by id. The logs cost a call for each container.
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
        containers.sort_by(|one, other| one.id.cmp(&other.id));
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
            message: describe(&condition.message),
        },
    )
}

impl SandboxMessage {
    fn read(self) -> PodSandbox {
        // A number of another release's is nothing to rely on.
        let state = SandboxState::try_from(self.state).unwrap_or(SandboxState::NotReady);
        let metadata = self.metadata.unwrap_or_default();
        PodSandbox {
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
