//! The result of `explain`.

use crate::results::source_files::SourceFiles;
use mirrorshift_containerd::{FindingId, Image, Route, Version};

/// The route of an image.
#[derive(Debug)]
pub(crate) struct ExplainResult {
    /// The image, normalized as containerd does.
    pub(crate) image: Image,
    /// The version of the node's containerd.
    pub(crate) version: Version,
    pub(crate) route: Route,
    pub(crate) sources: SourceFiles,
}

/// The documentation of a finding.
#[derive(Debug)]
pub(crate) struct FindingHelp {
    pub(crate) id: FindingId,
    /// The section of docs/findings.md, as Markdown.
    pub(crate) text: String,
}
