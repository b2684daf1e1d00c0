//! Servers at the ports of every address. They record each request and answer that they do not have the image, so that
//! containerd tries every host of its route.

use crate::rehearsal::in_sandbox::names;
use crate::rehearsal::in_sandbox::sniff::{FirstBytes, MAX_FIRST_BYTES, parse};
use mirrorshift_plan::rehearsal::ObservedRequest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;

/// The requests since they were last taken.
type Log = Arc<Mutex<Vec<ObservedRequest>>>;

/// The time after which a connection without a complete request is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The answer to a plain HTTP request.
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The answer to a TLS handshake: plain HTTP. A containerd that may fall back to plain HTTP then does so, as it would
/// with a real server without TLS; any other containerd tries the next host.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// All stub servers. They run in a thread that ends with the process.
#[derive(Debug)]
pub(super) struct Stubs(Log);

impl Stubs {
    /// Listens at these ports of every address, and answers name queries. A port at which containerd itself listens is
    /// skipped.
    pub(super) fn start(ports: &[u16]) -> io::Result<Self> {
        let log = Log::default();
        let mut listeners = Vec::new();
        for port in ports {
            for listener in [listen_ipv4(*port), listen_ipv6(*port)] {
                match listener {
                    Ok(listener) => {
                        listener.set_nonblocking(true)?;
                        listeners.push(listener);
                    }
                    Err(error) if is_skipped(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let names = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
        names.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread_log = Arc::clone(&log);
        thread::Builder::new().spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        tokio::spawn(serve(listener, Arc::clone(&thread_log)));
                    }
                }
                if let Ok(names) = UdpSocket::from_std(names) {
                    names::serve(names).await;
                }
                std::future::pending::<()>().await;
            });
        })?;
        Ok(Self(log))
    }

    /// Returns the requests since the last call, in order.
    pub(super) fn take_requests(&self) -> Vec<ObservedRequest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn listen_ipv4(port: u16) -> io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
}

/// Listens for IPv6 only, whatever the default of the node is, because IPv4 has a separate listener.
fn listen_ipv6(port: u16) -> io::Result<std::net::TcpListener> {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    listen(&socket, 128)?;
    Ok(socket.into())
}

/// Returns true if the port is in use, or the kernel does not have the address family.
fn is_skipped(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

async fn serve(listener: TcpListener, log: Log) {
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                // An error is ignored: the client closed the connection, or was idle.
                tokio::time::timeout(IDLE_TIMEOUT, answer(client, &log)).await.ok();
            });
        }
    }
}

async fn answer(mut client: TcpStream, log: &Log) -> io::Result<()> {
    let at: SocketAddr = client.local_addr()?;
    let mut received = Vec::new();
    while received.len() < MAX_FIRST_BYTES {
        if client.read_buf(&mut received).await? == 0 {
            break;
        }
        match parse(&received, at) {
            FirstBytes::Incomplete => {}
            FirstBytes::Unrelated => {
                client.write_all(NOT_FOUND).await?;
                break;
            }
            FirstBytes::Request(request) => {
                let response = if request.path.is_some() { NOT_FOUND } else { NO_TLS };
                // The request is recorded before the answer, so that it is in the log when the pull ends.
                log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                client.write_all(response).await?;
                break;
            }
        }
    }
    client.shutdown().await
}
