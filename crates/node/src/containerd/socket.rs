//! Calls over containerd's socket: gRPC, each within a deadline. Messages are written by hand where they are used, after
//! containerd's and Kubernetes' `.proto` files, with the fields that are read; others are skipped when decoding. So nothing
//! generates code at build time.

use crate::containerd::blocking::{BlockingRuntime, DeadlineExceeded};
use crate::facts::fact::describe;
use http::uri::PathAndQuery;
use std::io;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// The largest answer that is read: bytes. A node with 500 containers answers with less than 2 MiB.
const LARGEST: usize = 64 << 20;

/// A connection to one containerd.
#[derive(Debug)]
pub struct Socket {
    /// Taken by `drop` alone.
    grpc: Option<tonic::client::Grpc<Channel>>,
    within: Duration,
    /// The call that was not answered in time. After it nobody is kept waiting again.
    late: Option<&'static str>,
    patience: BlockingRuntime,
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there, or it is no socket.
    #[error("cannot connect to `{address}`: {said}")]
    Connect {
        /// The socket.
        address: String,
        /// Why.
        said: String,
    },
    /// No answer in time.
    #[error("no answer to `{call}` within {} ms", within.as_millis())]
    Late {
        /// The method.
        call: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// Not asked, as an earlier call over this connection had no answer.
    #[error("`{call}` was not asked, as `{late}` had no answer")]
    NotAsked {
        /// The method.
        call: &'static str,
        /// The one that was late.
        late: &'static str,
    },
    /// containerd has no such service: for CRI that means that its plugin did not load.
    #[error("`{call}` is not served: {said}")]
    NotServed {
        /// The method.
        call: &'static str,
        /// In containerd's words.
        said: String,
    },
    /// Another answer than was hoped for.
    #[error("`{call}` failed ({code}): {said}")]
    Failed {
        /// The method.
        call: &'static str,
        /// The kind of error, as gRPC names it.
        code: String,
        /// In containerd's words.
        said: String,
    },
}

impl Socket {
    /// Connects to the socket at `address`, an absolute path. `within` bounds this and each later call.
    pub fn connect(address: &str, within: Duration) -> Result<Self, CallError> {
        let failed = |said: String| CallError::Connect {
            address: address.to_owned(),
            said,
        };
        let patience = BlockingRuntime::new().map_err(|error: io::Error| failed(error.to_string()))?;
        let endpoint = Endpoint::from_shared(format!("unix://{address}")).map_err(|error| failed(error.to_string()))?;
        let channel = patience
            .wait(within, endpoint.connect())
            .map_err(|DeadlineExceeded| CallError::Late {
                call: "connect",
                within,
            })?
            .map_err(|error| failed(crate::facts::fact::chain(&error)))?;
        Ok(Self {
            grpc: Some(tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST)),
            within,
            late: None,
            patience,
        })
    }

    /// Asks `method`, such as `/runtime.v1.RuntimeService/Status`; containerd's own services also want a namespace.
    pub(crate) fn call<Q, A>(
        &mut self,
        call: &'static str,
        namespace: Option<&'static str>,
        question: Q,
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
        let mut request = Request::new(question);
        if let Some(namespace) = namespace {
            let metadata = request.metadata_mut();
            metadata.insert("containerd-namespace", MetadataValue::from_static(namespace));
        }
        // containerd gives up its work too when the client does.
        request.set_timeout(self.within);
        let answer = async {
            if let Err(error) = grpc.ready().await {
                return Err(tonic::Status::unavailable(crate::facts::fact::chain(&error)));
            }
            let path = PathAndQuery::from_static(call);
            grpc.unary(request, path, ProstCodec::<Q, A>::default()).await
        };
        let answer = self.patience.wait(self.within, answer);
        let within = self.within;
        match answer {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if !matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => {
                Err(refused(call, &status))
            }
            Ok(Err(_)) | Err(DeadlineExceeded) => {
                self.late = Some(call);
                Err(CallError::Late { call, within })
            }
        }
    }
}

fn refused(call: &'static str, status: &tonic::Status) -> CallError {
    let said = describe(status.message());
    match status.code() {
        Code::Unimplemented => CallError::NotServed { call, said },
        code => CallError::Failed {
            call,
            code: format!("{code:?}"),
            said,
        },
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _entered = self.patience.enter();
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
    fn a_socket_that_is_not_there_is_named() {
        let error = Socket::connect("/nowhere/containerd.sock", Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, CallError::Connect { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/containerd.sock"), "{error}");
    }

    #[test]
    fn a_daemon_that_hangs_costs_one_wait_and_no_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _hung = UnixListener::bind(&path).unwrap();
        let within = Duration::from_millis(150);
        let mut socket = Socket::connect(path.to_str().unwrap(), within).unwrap();
        let begun = Instant::now();
        let mut ask = || socket.call::<Nothing, Nothing>("/a.B/C", None, Nothing {});
        assert!(matches!(ask(), Err(CallError::Late { call: "/a.B/C", .. })));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(matches!(ask(), Err(CallError::NotAsked { late: "/a.B/C", .. })));
    }
}
