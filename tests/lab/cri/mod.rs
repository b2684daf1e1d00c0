//! The calls of CRI that the lab makes.

mod messages; // what they say, by hand

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use self::messages as m;
use super::scene::Image;

/// A connection to one containerd.
pub(super) struct Cri(tonic::client::Grpc<Channel>);

/// What CRI says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `RuntimeReady`.
    pub runtime: bool,
    /// `NetworkReady`: a CNI configuration is loaded.
    pub network: bool,
}

/// A sandbox to run.
pub(super) struct Sandbox<'a> {
    /// Name and, as nothing of the lab is long-lived, identity too.
    pub(super) name: &'a str,
    /// In the node's own network instead of one that CNI makes.
    pub(super) host_network: bool,
    /// The folder of its containers' logs.
    pub(super) logs: &'a str,
}

impl Sandbox<'_> {
    fn config(&self) -> m::PodSandboxConfig {
        let network = if self.host_network { m::OF_THE_NODE } else { 0 };
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
                    namespace_options: Some(m::NamespaceOption { network }),
                }),
            }),
        }
    }
}

/// What CRI tells of one sandbox or container.
pub(super) struct One {
    /// The number of the state: of a sandbox 0 is ready, of a container 1 is running.
    pub(super) state: i32,
    /// The main process, by its number in the node; 0 when there is none.
    pub(super) pid: i32,
}

impl Cri {
    /// Connects to a socket. Fails while nobody listens there.
    pub(super) async fn connect(socket: PathBuf) -> Result<Self, tonic::transport::Error> {
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The address is for the protocol alone; the connector knows where to go.
        let channel = Endpoint::from_static("http://containerd")
            .connect_with_connector(connector)
            .await?;
        Ok(Self(tonic::client::Grpc::new(channel)))
    }

    /// What the runtime service says of itself, when it answers.
    pub(super) async fn status(&mut self) -> Result<Ready, Status> {
        let answer: m::StatusResponse = self
            .call("/runtime.v1.RuntimeService/Status", m::StatusRequest {})
            .await?;
        let conditions = answer.status.unwrap_or_default().conditions;
        let holds = |kind: &str| {
            conditions
                .iter()
                .any(|condition| condition.kind == kind && condition.status)
        };
        Ok(Ready {
            runtime: holds("RuntimeReady"),
            network: holds("NetworkReady"),
        })
    }

    /// Pulls as kubelet does. The error's text is containerd's.
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

    /// Whether the node holds an image.
    pub(super) async fn holds(&mut self, reference: &str) -> Result<bool, Status> {
        let request = m::ImageStatusRequest {
            image: Some(m::ImageSpec {
                image: reference.into(),
            }),
        };
        let answer: m::ImageStatusResponse = self.call("/runtime.v1.ImageService/ImageStatus", request).await?;
        Ok(answer.image.is_some_and(|image| !image.id.is_empty()))
    }

    /// Starts a sandbox; its id.
    pub(super) async fn run_sandbox(&mut self, sandbox: &Sandbox<'_>) -> Result<String, Status> {
        let request = m::RunPodSandboxRequest {
            config: Some(sandbox.config()),
        };
        let answer: m::RunPodSandboxResponse = self.call("/runtime.v1.RuntimeService/RunPodSandbox", request).await?;
        Ok(answer.pod_sandbox_id)
    }

    /// Starts a container in a sandbox; its id.
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
        let answer: m::CreateContainerResponse =
            self.call("/runtime.v1.RuntimeService/CreateContainer", request).await?;
        let container_id = answer.container_id;
        let request = m::StartContainerRequest {
            container_id: container_id.clone(),
        };
        let _: m::Empty = self.call("/runtime.v1.RuntimeService/StartContainer", request).await?;
        Ok(container_id)
    }

    /// Ids of all sandboxes, in whatever state.
    pub(super) async fn sandboxes(&mut self) -> Result<Vec<String>, Status> {
        self.list("/runtime.v1.RuntimeService/ListPodSandbox").await
    }

    /// Ids of all containers, in whatever state.
    pub(super) async fn containers(&mut self) -> Result<Vec<String>, Status> {
        self.list("/runtime.v1.RuntimeService/ListContainers").await
    }

    /// What is known of a sandbox.
    pub(super) async fn sandbox(&mut self, id: &str) -> Result<One, Status> {
        self.one("/runtime.v1.RuntimeService/PodSandboxStatus", id).await
    }

    /// What is known of a container.
    pub(super) async fn container(&mut self, id: &str) -> Result<One, Status> {
        self.one("/runtime.v1.RuntimeService/ContainerStatus", id).await
    }

    async fn list(&mut self, method: &'static str) -> Result<Vec<String>, Status> {
        let listed: m::Listed = self.call(method, m::Empty {}).await?;
        Ok(listed.items.into_iter().map(|item| item.id).collect())
    }

    async fn one(&mut self, method: &'static str, id: &str) -> Result<One, Status> {
        let request = m::OneRequest {
            id: id.into(),
            verbose: true,
        };
        let answer: m::OneResponse = self.call(method, request).await?;
        // CRI has no field for it: kubelet's own tests read it from here too.
        let info = answer.info.get("info").map_or("", String::as_str);
        let info: serde_json::Value = serde_json::from_str(info).unwrap_or_default();
        Ok(One {
            state: answer.status.unwrap_or_default().state,
            pid: info["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok())
                .unwrap_or(0),
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
