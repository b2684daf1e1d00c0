//! Pulls an image that no registry has through CRI, and collects the requests that containerd makes for it.

use crate::containerd::socket::Socket;
use crate::error_text::redact_message;
use crate::rehearsal::in_sandbox::stubs::Stubs;
use mirrorshift_plan::rehearsal::Pull;
use std::time::Duration;

/// Pulls one image over a separate connection, so that a pull that hangs does not prevent the next one.
pub(super) fn pull(address: &str, image: &str, within: Duration, stubs: &Stubs) -> Pull {
    // Late requests of the previous pull are discarded.
    drop(stubs.take_requests());
    let pulled = Socket::connect(address, within).and_then(|mut socket| socket.pull_image(image));
    Pull {
        image: image.to_owned(),
        asked: stubs.take_requests(),
        said: pulled.map_or_else(
            |error| redact_message(&error.to_string()),
            |image_ref| format!("pulled {image_ref}"),
        ),
    }
}
