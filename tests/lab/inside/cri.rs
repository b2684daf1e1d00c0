//! The three calls of CRI that the lab makes. Messages are written by hand after `runtime/v1/api.proto` of Kubernetes'
//! cri-api, with the fields that the lab sets or reads; others are skipped when decoding.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::lab::scene::Image;

/// A connection to one containerd.
pub(super) struct Cri(tonic::client::Grpc<Channel>);

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

    /// Whether the runtime service answers `Status` and calls itself ready.
    pub(super) async fn status(&mut self) -> Result<bool, Status> {
        let answer: StatusResponse = self.call("/runtime.v1.RuntimeService/Status", StatusRequest {}).await?;
        let conditions = answer.status.unwrap_or_default().conditions;
        Ok(conditions
            .iter()
            .any(|condition| condition.kind == "RuntimeReady" && condition.status))
    }

    /// Pulls as kubelet does. The error's text is containerd's.
    pub(super) async fn pull(&mut self, image: &Image, within: Duration) -> Result<(), String> {
        let auth = image.auth.clone().map(|login| AuthConfig {
            username: login.user,
            password: login.password,
            server_address: image.server_address.clone().unwrap_or_default(),
        });
        let request = PullImageRequest {
            image: Some(ImageSpec {
                image: image.reference.clone(),
            }),
            auth,
        };
        let call = self.call::<_, PullImageResponse>("/runtime.v1.ImageService/PullImage", request);
        match tokio::time::timeout(within, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().into()),
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
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

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<RuntimeCondition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeCondition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    auth: Option<AuthConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthConfig {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
    #[prost(string, tag = "4")]
    server_address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageResponse {
    #[prost(string, tag = "1")]
    image_ref: String,
}
