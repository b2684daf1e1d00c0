//! `explain`: the route of an image, or the documentation of a finding.

use crate::commands::load::load_node;
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::results::explain::{ExplainResult, FindingHelp};
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{FindingId, Image};

/// The documentation of every finding.
const FINDINGS: &str = include_str!("../../../docs/findings.md");

pub(super) fn run(common: &CommonArgs, subject: &str) -> Result<CommandOutput, CommandError> {
    if let Some(help) = finding_help(subject) {
        let text = || render::explain::finding(&help, common.width);
        return Ok(text_or_json(common, Exit::Done, text, || json::explain::finding(&help)));
    }
    let image: Image = subject.parse().map_err(|error| {
        let message = redact::free_text(&format!("{error}"));
        CommandError::usage("image", message)
            .hint("pass an image as a pod names it (`nginx`, `ghcr.io/org/app:1.2`), or the id of a finding of `check`")
    })?;
    let loaded = load_node(common)?;
    let route = loaded.node.config()?.route(&loaded.node.tree, &image.registry);
    let explained = ExplainResult {
        image,
        version: loaded.node.version.clone(),
        route,
        sources: loaded.sources,
    };
    let text = || render::explain::text(&explained, loaded.root.is_live(), common.verbose, common.width);
    Ok(text_or_json(common, Exit::Done, text, || {
        json::explain::document(&explained)
    }))
}

/// Returns the section of a finding. An image of the same name would have to be written with its registry.
fn finding_help(subject: &str) -> Option<FindingHelp> {
    let id = *FindingId::ALL.iter().find(|id| id.as_str() == subject)?;
    let section = FINDINGS.split("\n## `").find_map(|section| {
        let (name, body) = section.split_once("`\n")?;
        (name == subject).then_some(body)
    })?;
    Some(FindingHelp {
        id,
        text: section.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_documentation() {
        for id in FindingId::ALL {
            let help = finding_help(id.as_str());
            assert!(help.is_some_and(|help| help.text.len() > 20), "{id}");
        }
        assert!(finding_help("nginx").is_none());
    }
}
