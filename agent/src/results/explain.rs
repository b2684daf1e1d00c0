//! The result of `explain`.

use mirrorshift_containerd::{Image, Route, Version};

/// The route of an image.
#[derive(Debug)]
pub(crate) struct ExplainResult {
    /// The image, normalized as containerd does.
    pub(crate) image: Image,
    /// The version of the node's containerd.
    pub(crate) version: Version,
    pub(crate) route: Route,
}
