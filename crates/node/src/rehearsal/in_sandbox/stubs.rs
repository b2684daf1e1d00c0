//! Somebody at every port of every address, who writes down who was asked and has nothing, so that containerd goes through its
//! whole list.

use crate::rehearsal::in_sandbox::names;
use crate::rehearsal::in_sandbox::sniff::{FirstBytes, MOST, read};
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

/// Who was asked since somebody looked.
type Log = Arc<Mutex<Vec<ObservedRequest>>>;

/// A client that says nothing for so long says nothing at all.
const SILENCE: Duration = Duration::from_secs(2);

/// Nobody has such an image.
const NOTHING: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Says in plain words that no TLS is spoken here. A containerd that may fall back to plain HTTP does then, as it would
/// before a real server without TLS; any other goes on to the next host.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// All of them, in a thread that ends with the process.
#[derive(Debug)]
pub(super) struct Stubs(Log);

impl Stubs {
    /// Listens at these ports of every address, and as a name server. A port that containerd itself has taken is left to it.
    pub(super) fn start(ports: &[u16]) -> io::Result<Self> {
        let log = Log::default();
        let mut listeners = Vec::new();
        for port in ports {
            for listener in [four(*port), six(*port)] {
                match listener {
                    Ok(listener) => {
                        listener.set_nonblocking(true)?;
                        listeners.push(listener);
                    }
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let names = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
        names.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let written = Arc::clone(&log);
        thread::Builder::new().spawn(move || {
            runtime.block_on(async {
                for listener in listeners {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        tokio::spawn(serve(listener, Arc::clone(&written)));
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

    /// Who was asked since the last call, in order.
    pub(super) fn asked(&self) -> Vec<ObservedRequest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn four(port: u16) -> io::Result<std::net::TcpListener> {
    std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
}

/// For IPv6 alone, whatever the node's default is: the other family has a listener of its own.
fn six(port: u16) -> io::Result<std::net::TcpListener> {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    listen(&socket, 128)?;
    Ok(socket.into())
}

/// A port that somebody has, or a family that the kernel has not.
fn is_absent(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|absent| error.raw_os_error() == Some(absent.raw_os_error()))
}

async fn serve(listener: TcpListener, log: Log) {
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                // One that goes away has nothing more to say.
                tokio::time::timeout(SILENCE, answer(client, &log)).await.ok();
            });
        }
    }
}

async fn answer(mut client: TcpStream, log: &Log) -> io::Result<()> {
    let at: SocketAddr = client.local_addr()?;
    let mut said = Vec::new();
    while said.len() < MOST {
        if client.read_buf(&mut said).await? == 0 {
            break;
        }
        match read(&said, at) {
            FirstBytes::Incomplete => {}
            FirstBytes::Unrelated => {
                client.write_all(NOTHING).await?;
                break;
            }
            FirstBytes::Request(asked) => {
                let words = if asked.path.is_some() { NOTHING } else { PLAIN };
                // Before the answer, so that it is there when the pull is over.
                log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                client.write_all(words).await?;
                break;
            }
        }
    }
    client.shutdown().await
}
