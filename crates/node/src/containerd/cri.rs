//! The Container Runtime Interface (CRI), called as kubelet calls it.

use crate::containerd::messages::{
    ContainerMessage, ContainerState, ContainerStatusRequest, ContainerStatusResponse, Empty, ImageSpec,
    ListContainersResponse, ListImagesResponse, ListPodSandboxResponse, PodSandboxMessage, PullImageRequest,
    PullImageResponse, RuntimeCondition, RuntimeVersionResponse, SandboxState, StatusResponse,
};
use crate::containerd::socket::{CallError, Socket};
use crate::error_text::redact_message;
use serde::Serialize;

/// The conditions that CRI reports. CRI is ready if both are; a runtime without a network plugin has only the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CriStatus {
    /// `RuntimeReady`: sandboxes can be created.
    pub runtime: Condition,
    /// `NetworkReady`: sandboxes get a network.
    pub network: Condition,
}

/// One condition of CRI. A condition that CRI does not report is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// True if the condition holds.
    pub ready: bool,
    /// One word for the reason if it does not.
    pub reason: String,
    /// A sentence with the reason.
    pub message: String,
}

/// The sandbox of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodSandbox {
    /// The id of the sandbox and of its task.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The number of times that the sandbox was recreated.
    pub attempt: u32,
    /// The state of the sandbox.
    pub state: SandboxState,
    /// The time of creation: nanoseconds since 1970.
    pub created_ns: i64,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The id of the container and of its task.
    pub id: String,
    /// The id of the pod's sandbox.
    pub sandbox: String,
    /// The container's name in the pod.
    pub name: String,
    /// The number of times that the container was recreated.
    pub attempt: u32,
    /// The container's state.
    pub state: ContainerState,
    /// The time of creation: nanoseconds since 1970.
    pub created_ns: i64,
    /// The log file; empty if there is none.
    pub log_path: String,
}

/// The largest number of image references that are read. kubelet removes unused images long before a node has as many.
const MAX_IMAGE_REFERENCES: usize = 10_000;

impl Socket {
    /// Reads CRI's conditions.
    ///
    /// # Errors
    /// [`CallError::NotServed`] if the CRI plugin did not load.
    pub fn cri_status(&mut self) -> Result<CriStatus, CallError> {
        let response: StatusResponse = self.call("/runtime.v1.RuntimeService/Status", None, Empty {})?;
        let conditions = response.status.unwrap_or_default().conditions;
        Ok(CriStatus {
            runtime: condition(&conditions, "RuntimeReady"),
            network: condition(&conditions, "NetworkReady"),
        })
    }

    /// Reads the name and the version that CRI reports for its runtime.
    ///
    /// # Errors
    /// [`CallError::NotServed`] if the CRI plugin did not load.
    pub fn cri_version(&mut self) -> Result<(String, String), CallError> {
        let response: RuntimeVersionResponse = self.call("/runtime.v1.RuntimeService/Version", None, Empty {})?;
        Ok((response.runtime_name, response.runtime_version))
    }

    /// Pulls an image as kubelet does without image pull secrets, and returns its id. The connection's deadline limits
    /// the whole pull.
    pub(crate) fn pull_image(&mut self, image: &str) -> Result<String, CallError> {
        let request = PullImageRequest {
            image: Some(ImageSpec {
                image: image.to_owned(),
            }),
            auth: None,
        };
        let response: PullImageResponse = self.call("/runtime.v1.ImageService/PullImage", None, request)?;
        Ok(response.image_ref)
    }

    /// Lists the references of all images on the node, such as `registry.k8s.io/pause:3.9`: their tags, and the digest
    /// references of images without a tag. The list is sorted and has at most 10,000 entries.
    ///
    /// # Errors
    /// [`CallError::NotServed`] if the CRI plugin did not load, [`CallError::Late`] after the connection's deadline.
    pub fn image_references(&mut self) -> Result<Vec<String>, CallError> {
        let response: ListImagesResponse = self.call("/runtime.v1.ImageService/ListImages", None, Empty {})?;
        Ok(image_references(response))
    }

    /// Lists all sandboxes, in any state, ordered by their ids.
    ///
    /// # Errors
    /// [`CallError::NotServed`] if the CRI plugin did not load.
    pub fn sandboxes(&mut self) -> Result<Vec<PodSandbox>, CallError> {
        let response: ListPodSandboxResponse =
            self.call("/runtime.v1.RuntimeService/ListPodSandbox", None, Empty {})?;
        let mut sandboxes: Vec<PodSandbox> = response.items.into_iter().map(PodSandbox::from).collect();
        sandboxes.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(sandboxes)
    }

    /// Lists all containers, in any state, ordered by their ids. Reading the log paths takes one call per container.
    ///
    /// # Errors
    /// [`CallError::NotServed`] if the CRI plugin did not load.
    pub fn containers(&mut self) -> Result<Vec<Container>, CallError> {
        let response: ListContainersResponse =
            self.call("/runtime.v1.RuntimeService/ListContainers", None, Empty {})?;
        let mut containers = Vec::with_capacity(response.containers.len());
        for message in response.containers {
            let request = ContainerStatusRequest {
                container_id: message.id.clone(),
                verbose: false,
            };
            let status: Result<ContainerStatusResponse, _> =
                self.call("/runtime.v1.RuntimeService/ContainerStatus", None, request);
            match status {
                Ok(status) => containers.push(container(message, status.status.unwrap_or_default().log_path)),
                // The container was removed after it was listed.
                Err(CallError::Failed { code, .. }) if code == "NotFound" => {}
                Err(error) => return Err(error),
            }
        }
        containers.sort_by(|left, right| left.id.cmp(&right.id));
        Ok(containers)
    }
}

fn condition(conditions: &[RuntimeCondition], name: &str) -> Condition {
    let reported = conditions.iter().find(|condition| condition.r#type == name);
    reported.map_or_else(
        || Condition {
            reason: "Absent".to_owned(),
            message: format!("CRI does not report the condition `{name}`"),
            ready: false,
        },
        |condition| Condition {
            ready: condition.status,
            reason: condition.reason.clone(),
            message: redact_message(&condition.message),
        },
    )
}

/// Returns the tags of each image, or its digest references if it has no tag: an image that was pulled by digest, or
/// whose tag has moved to another image.
fn image_references(response: ListImagesResponse) -> Vec<String> {
    let references = response.images.into_iter().flat_map(|image| {
        if image.repo_tags.is_empty() {
            image.repo_digests
        } else {
            image.repo_tags
        }
    });
    let mut references: Vec<String> = references
        // containerd's placeholder for an image without a name.
        .filter(|reference| !reference.starts_with("<none>"))
        .take(MAX_IMAGE_REFERENCES)
        .collect();
    references.sort();
    references.dedup();
    references
}

impl From<PodSandboxMessage> for PodSandbox {
    fn from(message: PodSandboxMessage) -> Self {
        // A number that this release does not know is not reliable, and counts as not ready.
        let state = SandboxState::try_from(message.state).unwrap_or(SandboxState::NotReady);
        let metadata = message.metadata.unwrap_or_default();
        Self {
            id: message.id,
            namespace: metadata.namespace,
            name: metadata.name,
            attempt: metadata.attempt,
            state,
            created_ns: message.created_at,
        }
    }
}

fn container(message: ContainerMessage, log_path: String) -> Container {
    let state = ContainerState::try_from(message.state).unwrap_or(ContainerState::Unknown);
    let metadata = message.metadata.unwrap_or_default();
    Container {
        id: message.id,
        sandbox: message.pod_sandbox_id,
        name: metadata.name,
        attempt: metadata.attempt,
        state,
        created_ns: message.created_at,
        log_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerd::fake::FakeContainerd;
    use crate::containerd::messages::Image;
    use prost::Message;
    use std::time::Duration;

    fn image(tags: &[&str], digests: &[&str]) -> Image {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Image {
            id: "sha256:1".to_owned(),
            repo_tags: owned(tags),
            repo_digests: owned(digests),
        }
    }

    #[test]
    fn image_references_are_the_tags_or_else_the_digests() {
        let images = vec![
            image(
                &["registry.test/b:1", "registry.test/a:1"],
                &["registry.test/a@sha256:1"],
            ),
            image(&[], &["other.test/c@sha256:2"]),
            image(&["registry.test/a:1"], &[]),
            image(&["<none>:<none>"], &[]),
        ];
        assert_eq!(
            image_references(ListImagesResponse { images }),
            ["other.test/c@sha256:2", "registry.test/a:1", "registry.test/b:1"]
        );
    }

    #[test]
    fn image_references_are_read_from_list_images() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let images = vec![image(&["registry.test/a:1"], &[])];
        let call = "/runtime.v1.ImageService/ListImages";
        let server = FakeContainerd::start(&path, &[(call, ListImagesResponse { images }.encode_to_vec())]);
        let mut socket = Socket::connect(path.to_str().unwrap(), Duration::from_secs(5)).unwrap();
        assert_eq!(socket.image_references().unwrap(), ["registry.test/a:1"]);
        drop(socket);
        assert_eq!(server.calls(), [call]);
    }

    #[test]
    fn image_references_are_limited() {
        let tags: Vec<String> = (0..=MAX_IMAGE_REFERENCES)
            .map(|number| format!("a.test/b:{number}"))
            .collect();
        let images = vec![Image {
            repo_tags: tags,
            ..Image::default()
        }];
        assert_eq!(
            image_references(ListImagesResponse { images }).len(),
            MAX_IMAGE_REFERENCES
        );
    }
}
