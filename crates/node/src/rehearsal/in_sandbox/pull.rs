//! Has CRI pull an image that nobody has, and notes who was asked for it.

use crate::containerd::socket::Socket;
use crate::facts::fact::describe;
use crate::rehearsal::in_sandbox::stubs::Stubs;
use mirrorshift_plan::rehearsal::Pull;
use prost::Message;
use std::time::Duration;

/// `runtime.v1.PullImageRequest`.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct PullResponse {
    #[prost(string, tag = "1")]
    image: String,
}

/// One pull, over a connection of its own: one that hangs must not keep the others from being tried.
pub(super) fn pull(address: &str, image: &str, within: Duration, stubs: &Stubs) -> Pull {
    // What came late for the one before.
    drop(stubs.asked());
    let question = Question {
        image: Some(ImageSpec {
            image: image.to_owned(),
        }),
    };
    let answer: Result<PullResponse, _> = Socket::connect(address, within)
        .and_then(|mut socket| socket.call("/runtime.v1.ImageService/PullImage", None, question));
    Pull {
        image: image.to_owned(),
        asked: stubs.asked(),
        said: answer.map_or_else(
            |error| describe(&error.to_string()),
            |answer| format!("pulled {}", answer.image),
        ),
    }
}
