//! The CRI calls that the lab makes in the role of kubelet.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use mirrorshift_node::messages as m;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::scene::Image;

/// A connection to one containerd.
pub(super) struct Cri(tonic::client::Grpc<Channel>);

/// The conditions that CRI reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `RuntimeReady`.
    pub runtime: bool,
    /// `NetworkReady`: a CNI configuration is loaded.
    pub network: bool,
}

/// A sandbox to start.
pub(super) struct Sandbox<'a> {
    /// The name. It is also the unique id, because no sandbox of the lab is recreated.
    pub(super) name: &'a str,
    /// True if the sandbox uses the node's network instead of a network that CNI creates.
    pub(super) host_network: bool,
    /// The folder for the logs of its containers.
    pub(super) logs: &'a str,
}

impl Sandbox<'_> {
    fn config(&self) -> m::PodSandboxConfig {
        let network = if self.host_network {
            m::NamespaceMode::Node
        } else {
            m::NamespaceMode::Pod
        };
        m::PodSandboxConfig {
            metadata: Some(m::PodSandboxMetadata {
                name: self.name.into(),
                uid: self.name.into(),
                namespace: "lab".into(),
                attempt: 0,
            }),
            // A sandbox in the node's network has the node's name.
            hostname: if self.host_network {
                String::new()
            } else {
                self.name.into()
            },
            log_directory: self.logs.into(),
            linux: Some(m::LinuxPodSandboxConfig {
                security_context: Some(m::LinuxSandboxSecurityContext {
                    namespace_options: Some(m::NamespaceOption {
                        network: network.into(),
                    }),
                }),
            }),
        }
    }
}

/// The status of a sandbox or container.
pub(super) struct ObjectStatus {
    /// The number of the state: 0 is a ready sandbox, 1 is a running container.
    pub(super) state: i32,
    /// The id of the main process on the node; 0 if there is none.
    pub(super) pid: i32,
}

impl Cri {
    /// Connects to a socket. Fails while no process listens there.
    pub(super) async fn connect(socket: PathBuf) -> Result<Self, tonic::transport::Error> {
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The protocol needs an address, and the connector ignores it.
        let channel = Endpoint::from_static("http://containerd")
            .connect_with_connector(connector)
            .await?;
        Ok(Self(tonic::client::Grpc::new(channel)))
    }

    /// Reads the conditions of the runtime service.
    pub(super) async fn status(&mut self) -> Result<Ready, Status> {
        let response: m::StatusResponse = self.call("/runtime.v1.RuntimeService/Status", m::Empty {}).await?;
        let conditions = response.status.unwrap_or_default().conditions;
        let holds = |kind: &str| {
            conditions
                .iter()
                .any(|condition| condition.r#type == kind && condition.status)
        };
        Ok(Ready {
            runtime: holds("RuntimeReady"),
            network: holds("NetworkReady"),
        })
    }

    /// Pulls an image as kubelet does. The error is containerd's message.
    pub(super) async fn pull(&mut self, image: &Image, within: Duration) -> Result<(), String> {
        let auth = image.auth.clone().map(|login| m::AuthConfig {
            username: login.user,
            password: login.password,
            server_address: image.server_address.clone().unwrap_or_default(),
        });
        let request = m::PullImageRequest {
            image: Some(m::ImageSpec {
                image: image.reference.clone(),
            }),
            auth,
        };
        let call = self.call::<_, m::PullImageResponse>("/runtime.v1.ImageService/PullImage", request);
        match tokio::time::timeout(within, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().into()),
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
    }

    /// Returns true if an image is on the node.
    pub(super) async fn has_image(&mut self, reference: &str) -> Result<bool, Status> {
        let request = m::ImageStatusRequest {
            image: Some(m::ImageSpec {
                image: reference.into(),
            }),
        };
        let response: m::ImageStatusResponse = self.call("/runtime.v1.ImageService/ImageStatus", request).await?;
        Ok(response.image.is_some_and(|image| !image.id.is_empty()))
    }

    /// Starts a sandbox, and returns its id.
    pub(super) async fn run_sandbox(&mut self, sandbox: &Sandbox<'_>) -> Result<String, Status> {
        let request = m::RunPodSandboxRequest {
            config: Some(sandbox.config()),
        };
        let response: m::RunPodSandboxResponse = self.call("/runtime.v1.RuntimeService/RunPodSandbox", request).await?;
        Ok(response.pod_sandbox_id)
    }

    /// Starts a container in a sandbox, and returns its id.
    pub(super) async fn run_container(
        &mut self,
        (id, sandbox): (&str, &Sandbox<'_>),
        image: &str,
        command: &[&str],
        log: &str,
    ) -> Result<String, Status> {
        let request = m::CreateContainerRequest {
            pod_sandbox_id: id.into(),
            config: Some(m::ContainerConfig {
                metadata: Some(m::ContainerMetadata {
                    name: sandbox.name.into(),
                    attempt: 0,
                }),
                image: Some(m::ImageSpec { image: image.into() }),
                command: command.iter().map(|&word| word.into()).collect(),
                log_path: log.into(),
            }),
            sandbox_config: Some(sandbox.config()),
        };
        let response: m::CreateContainerResponse =
            self.call("/runtime.v1.RuntimeService/CreateContainer", request).await?;
        let container_id = response.container_id;
        let request = m::StartContainerRequest {
            container_id: container_id.clone(),
        };
        let _: m::Empty = self.call("/runtime.v1.RuntimeService/StartContainer", request).await?;
        Ok(container_id)
    }

    /// Lists the ids of all sandboxes, in any state.
    pub(super) async fn sandboxes(&mut self) -> Result<Vec<String>, Status> {
        let response: m::ListPodSandboxResponse = self
            .call("/runtime.v1.RuntimeService/ListPodSandbox", m::Empty {})
            .await?;
        Ok(response.items.into_iter().map(|sandbox| sandbox.id).collect())
    }

    /// Lists the ids of all containers, in any state.
    pub(super) async fn containers(&mut self) -> Result<Vec<String>, Status> {
        let response: m::ListContainersResponse = self
            .call("/runtime.v1.RuntimeService/ListContainers", m::Empty {})
            .await?;
        Ok(response.containers.into_iter().map(|container| container.id).collect())
    }

    /// Reads the status of a sandbox.
    pub(super) async fn sandbox_status(&mut self, id: &str) -> Result<ObjectStatus, Status> {
        let request = m::PodSandboxStatusRequest {
            pod_sandbox_id: id.into(),
            verbose: true,
        };
        let response: m::PodSandboxStatusResponse = self
            .call("/runtime.v1.RuntimeService/PodSandboxStatus", request)
            .await?;
        Ok(ObjectStatus {
            state: response.status.unwrap_or_default().state,
            pid: pid(&response.info),
        })
    }

    /// Reads the status of a container.
    pub(super) async fn container_status(&mut self, id: &str) -> Result<ObjectStatus, Status> {
        let request = m::ContainerStatusRequest {
            container_id: id.into(),
            verbose: true,
        };
        let response: m::ContainerStatusResponse =
            self.call("/runtime.v1.RuntimeService/ContainerStatus", request).await?;
        Ok(ObjectStatus {
            state: response.status.unwrap_or_default().state,
            pid: pid(&response.info),
        })
    }

    async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.0
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(method);
        Ok(self
            .0
            .unary(Request::new(request), path, ProstCodec::<Q, A>::default())
            .await?
            .into_inner())
    }
}

/// Returns the process id in the verbose part of a status. CRI has no field for it; kubelet's own tests read it there
/// too.
fn pid(info: &BTreeMap<String, String>) -> i32 {
    let info = info.get("info").map_or("", String::as_str);
    let info: serde_json::Value = serde_json::from_str(info).unwrap_or_default();
    info["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or(0)
}
