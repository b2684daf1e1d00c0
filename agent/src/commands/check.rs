//! What this containerd refuses, ignores or will stop supporting.

use super::Report;
use crate::cli::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::read::Node;
use crate::{json, render, version};
use mirrorshift_containerd::findings::{View, findings, upgrade};
use mirrorshift_containerd::{Finding, Severity, Version};
use mirrorshift_node::Root;

/// What `check` found.
pub(crate) struct Checked {
    /// The node's containerd.
    pub(crate) version: Version,
    /// What it makes of the files, worst first.
    pub(crate) findings: Vec<Finding>,
    /// The release that an upgrade would lead to.
    pub(crate) target: Option<Target>,
}

/// What an upgrade would lead to.
pub(crate) struct Target {
    /// The release.
    pub(crate) version: Version,
    /// What it breaks or changes.
    pub(crate) changes: Vec<Finding>,
    /// What that release makes of the files.
    pub(crate) findings: Vec<Finding>,
}

fn view(node: &Node) -> View<'_> {
    View {
        reading: &node.outcome,
        version: &node.version,
    }
}

pub(super) fn run(common: &Common, target: Option<&str>, exit_code: bool) -> Result<Report, Failure> {
    let target = target.map(|text| version::parse(text, "--target")).transpose()?;
    let root = Root::open(&common.root)?;
    let node = Node::read(&root, common)?;
    let found = findings(&node.outcome, &node.tree, &node.version);
    let target = match target {
        None => None,
        Some(target) => {
            let after = node.read_as(&root, &target)?;
            // The other reading began with this one's files, so its tree holds what either asks for.
            let changes = upgrade(view(&node), view(&after), &after.tree);
            let findings = findings(&after.outcome, &after.tree, &target);
            Some(Target {
                version: target,
                changes,
                findings,
            })
        }
    };
    let checked = Checked {
        version: node.version,
        findings: found,
        target,
    };
    let upgraded = checked.target.iter().flat_map(|target| &target.changes);
    let bad = checked
        .findings
        .iter()
        .chain(upgraded)
        .any(|finding| finding.severity <= Severity::Breaks);
    let exit = if exit_code && bad { Exit::Found } else { Exit::Done };
    let text = || render::findings::check(&checked);
    Ok(Report::either(common, exit, text, || json::check::document(&checked)))
}
