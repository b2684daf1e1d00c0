//! Messages of CRI and of containerd's own services, written by hand, so that a build needs no `protoc`.
//!
//! Each message has the name from its proto, with one exception: a name that another type of this crate has ends in
//! `Message`. It lists the fields that this crate or the lab of the tests reads or sets; prost skips all others when it
//! decodes. Field numbers never change within a version of a protocol. They were read in these files:
//!
//! - `runtime.v1`: `pkg/apis/runtime/v1/api.proto` of `k8s.io/cri-api`, which every containerd since 1.6.0 serves;
//! - `containerd.services.*.v1` and `containerd.v1.types`: `api/services/*/v1/*.proto` and `api/types/**/*.proto` of
//!   containerd 1.6.20 to 2.4.2, which agree in these fields.

/// Messages of CRI: `runtime.v1`, `api.proto`.
mod cri;
/// Messages of containerd's own services.
mod services;

pub use crate::containerd::messages::cri::*;
pub use crate::containerd::messages::services::*;
use prost::Message;

/// An empty message: `google.protobuf.Empty`, and a request or response whose fields are all left out.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}
