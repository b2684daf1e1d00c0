//! gRPC calls over containerd's socket, each with a deadline.

use crate::containerd::blocking::{BlockingRuntime, DeadlineExceeded};
use crate::error_text::{error_chain, redact_message};
use http::uri::PathAndQuery;
use std::io;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// The largest response that is decoded, in bytes. A node with 500 containers answers with less than 2 MiB.
const MAX_RESPONSE: usize = 64 << 20;

/// A connection to one containerd.
///
/// *Guarantees*: after the first call that misses its deadline, every further call fails with [`CallError::NotAsked`].
/// A containerd that hangs therefore delays the caller only once.
#[derive(Debug)]
pub struct Socket {
    /// `None` only while the value is dropped.
    grpc: Option<tonic::client::Grpc<Channel>>,
    within: Duration,
    /// The call that missed its deadline.
    late: Option<&'static str>,
    runtime: BlockingRuntime,
}

/// A failed call to containerd.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No program listens at this path, or it is not a socket.
    #[error("cannot connect to `{address}`: {message}")]
    Connect {
        /// The path of the socket.
        address: String,
        /// The reason.
        message: String,
    },
    /// containerd did not answer before the deadline.
    #[error("no answer to `{call}` within {} ms", within.as_millis())]
    Late {
        /// The method.
        call: &'static str,
        /// The deadline of the call.
        within: Duration,
    },
    /// The call was not made, because an earlier call over this connection missed its deadline.
    #[error("`{call}` was not called, because `{late}` was not answered in time")]
    NotAsked {
        /// The method.
        call: &'static str,
        /// The method that missed its deadline.
        late: &'static str,
    },
    /// containerd does not have this service. For CRI, this means that its plugin did not load.
    #[error("`{call}` is not served: {message}")]
    NotServed {
        /// The method.
        call: &'static str,
        /// containerd's message.
        message: String,
    },
    /// containerd answered with an error.
    #[error("`{call}` failed ({code}): {message}")]
    Failed {
        /// The method.
        call: &'static str,
        /// gRPC's name of the status code.
        code: String,
        /// containerd's message.
        message: String,
    },
}

impl Socket {
    /// Connects to the socket at `address`, an absolute path. `within` is the deadline of this call and of each later
    /// call.
    ///
    /// # Errors
    /// [`CallError::Connect`] or [`CallError::Late`].
    pub fn connect(address: &str, within: Duration) -> Result<Self, CallError> {
        let failed = |message: String| CallError::Connect {
            address: address.to_owned(),
            message,
        };
        let runtime = BlockingRuntime::new().map_err(|error: io::Error| failed(error.to_string()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{address}")).map_err(|error| failed(error.to_string()))?;
        let channel = runtime
            .wait(within, endpoint.connect())
            .map_err(|DeadlineExceeded| CallError::Late {
                call: "connect",
                within,
            })?
            .map_err(|error| failed(error_chain(&error)))?;
        Ok(Self {
            grpc: Some(tonic::client::Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE)),
            within,
            late: None,
            runtime,
        })
    }

    /// Calls a method, such as `/runtime.v1.RuntimeService/Status`. containerd's own services also need a namespace.
    pub(crate) fn call<Q, A>(
        &mut self,
        call: &'static str,
        namespace: Option<&'static str>,
        message: Q,
    ) -> Result<A, CallError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        if let Some(late) = self.late {
            return Err(CallError::NotAsked { call, late });
        }
        let Some(grpc) = &mut self.grpc else {
            return Err(CallError::NotAsked { call, late: "connect" });
        };
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            let metadata = request.metadata_mut();
            metadata.insert("containerd-namespace", MetadataValue::from_static(namespace));
        }
        // With the timeout in the request, containerd abandons its work too.
        request.set_timeout(self.within);
        let response = async {
            if let Err(error) = grpc.ready().await {
                return Err(tonic::Status::unavailable(error_chain(&error)));
            }
            let path = PathAndQuery::from_static(call);
            grpc.unary(request, path, ProstCodec::<Q, A>::default()).await
        };
        let response = self.runtime.wait(self.within, response);
        let within = self.within;
        match response {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) if !matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => {
                Err(call_error(call, &status))
            }
            Ok(Err(_)) | Err(DeadlineExceeded) => {
                self.late = Some(call);
                Err(CallError::Late { call, within })
            }
        }
    }
}

fn call_error(call: &'static str, status: &tonic::Status) -> CallError {
    let message = redact_message(status.message());
    match status.code() {
        Code::Unimplemented => CallError::NotServed { call, message },
        code => CallError::Failed {
            call,
            code: format!("{code:?}"),
            message,
        },
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.grpc = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Nothing {}

    #[test]
    fn connect_to_a_missing_socket_names_its_path() {
        let error = Socket::connect("/nowhere/containerd.sock", Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/containerd.sock"), "{error}");
    }

    #[test]
    fn call_after_a_missed_deadline_fails_immediately() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _hung = UnixListener::bind(&path).unwrap();
        let within = Duration::from_millis(150);
        let mut socket = Socket::connect(path.to_str().unwrap(), within).unwrap();
        let start = Instant::now();
        let mut call = || socket.call::<Nothing, Nothing>("/a.B/C", None, Nothing {});
        assert!(matches!(call(), Err(CallError::Late { call: "/a.B/C", .. })));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(matches!(call(), Err(CallError::NotAsked { late: "/a.B/C", .. })));
    }
}
