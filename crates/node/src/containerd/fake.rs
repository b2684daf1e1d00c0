//! A containerd for tests: answers the calls of one connection from a script, and records them.

use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::{self, JoinHandle};

/// gRPC's status `UNIMPLEMENTED`, which containerd answers for a service that did not load.
const UNIMPLEMENTED: u16 = 12;

/// A server that ends with its first connection that speaks HTTP/2.
pub(crate) struct FakeContainerd(JoinHandle<Vec<String>>);

impl FakeContainerd {
    /// Listens at `path`. Each call of a method in `answers` gets that encoded message, each other call
    /// `UNIMPLEMENTED`.
    pub(crate) fn start(path: &Path, answers: &[(&'static str, Vec<u8>)]) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let answers: BTreeMap<&str, Vec<u8>> = answers.iter().cloned().collect();
        Self(thread::spawn(move || serve(&listener, &answers)))
    }

    /// Waits until that connection is closed, and returns the called methods in order.
    pub(crate) fn calls(self) -> Vec<String> {
        self.0.join().unwrap()
    }
}

fn serve(listener: &UnixListener, answers: &BTreeMap<&str, Vec<u8>>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        loop {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::UnixStream::from_std(stream).unwrap();
            // The search for the listening process connects too, and closes the connection without a call.
            if let Ok(connection) = h2::server::handshake(stream).await {
                return answer(connection, answers).await;
            }
        }
    })
}

async fn answer(
    mut connection: h2::server::Connection<tokio::net::UnixStream, Bytes>,
    answers: &BTreeMap<&str, Vec<u8>>,
) -> Vec<String> {
    let mut calls = Vec::new();
    while let Some(Ok((request, mut response))) = connection.accept().await {
        let call = request.uri().path().to_owned();
        let head = http::Response::builder().header("content-type", "application/grpc");
        if let Some(message) = answers.get(call.as_str()) {
            let mut body = response.send_response(head.body(()).unwrap(), false).unwrap();
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let frame = [&[0][..], &length, message].concat();
            body.send_data(frame.into(), false).unwrap();
            let trailers = [(http::HeaderName::from_static("grpc-status"), 0.into())];
            body.send_trailers(trailers.into_iter().collect()).unwrap();
        } else {
            let head = head.header("grpc-status", UNIMPLEMENTED).body(()).unwrap();
            response.send_response(head, true).unwrap();
        }
        calls.push(call);
    }
    calls
}
