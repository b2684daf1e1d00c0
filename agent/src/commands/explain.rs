//! The route of one image.

use crate::cli::CommonArgs;
use crate::commands::CommandOutput;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Image, Route, Version};
use mirrorshift_node::Root;

/// An image and who is asked for it.
pub(crate) struct Explained {
    /// The image, normalised.
    pub(crate) image: Image,
    /// The node's containerd.
    pub(crate) version: Version,
    /// Who is asked.
    pub(crate) route: Route,
}

pub(super) fn run(common: &CommonArgs, image: &str) -> Result<CommandOutput, CommandError> {
    let image: Image = image.parse().map_err(|error| {
        let message = redact::free_text(&format!("{error}"));
        CommandError::usage("image", message).hint("name it as a pod does: `nginx`, `ghcr.io/org/app:1.2`")
    })?;
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, common)?;
    let route = node.config()?.route(&node.tree, &image.registry);
    let explained = Explained {
        image,
        version: node.version,
        route,
    };
    let text = || render::explain::text(&explained);
    Ok(CommandOutput::text_or_json(common, Exit::Done, text, || {
        json::explain::document(&explained)
    }))
}
