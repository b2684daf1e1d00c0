//! Accepts connections.

use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Returns the next connection. If the process has no free file descriptor, waits until it has one again.
pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
