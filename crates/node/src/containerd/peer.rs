//! The process that listens at a Unix socket, as the kernel reports it. A path does not identify a containerd
//! if two are running.

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Connects to a Unix socket and never blocks. If the queue of a stopped daemon is full, the result is an error.
pub(crate) fn dial(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Returns the id of the process that listens at a socket (`SO_PEERCRED`), or `None` if it is in a PID namespace that
/// is not visible here.
pub(crate) fn listener(path: &Path) -> io::Result<Option<u32>> {
    let peer = sockopt::socket_peercred(dial(path)?)?;
    // The kernel writes 0 for a process outside the caller's PID namespace.
    Ok(u32::try_from(peer.pid.as_raw_pid()).ok().filter(|pid| *pid != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn listener_is_the_process_that_bound_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(listener(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let _listening = UnixListener::bind(&path).unwrap();
        assert_eq!(listener(&path).unwrap(), Some(std::process::id()));
    }

    #[test]
    fn dial_fails_when_the_queue_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listening = UnixListener::bind(&path).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match dial(&path) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 100_000);
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
