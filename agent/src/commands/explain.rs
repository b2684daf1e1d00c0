//! The route of one image.

use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::results::explain::ExplainResult;
use crate::{json, render};
use mirrorshift_containerd::Image;
use mirrorshift_containerd::redact;
use mirrorshift_node::Root;

pub(super) fn run(common: &CommonArgs, image: &str) -> Result<CommandOutput, CommandError> {
    let image: Image = image.parse().map_err(|error| {
        let message = redact::free_text(&format!("{error}"));
        CommandError::usage("image", message).hint("name it as a pod does: `nginx`, `ghcr.io/org/app:1.2`")
    })?;
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, &common.node_source())?;
    let route = node.config()?.route(&node.tree, &image.registry);
    let explained = ExplainResult {
        image,
        version: node.version,
        route,
    };
    let text = || render::explain::text(&explained);
    Ok(text_or_json(common, Exit::Done, text, || {
        json::explain::document(&explained)
    }))
}
