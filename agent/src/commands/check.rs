//! What this containerd refuses, ignores or will stop supporting.

use super::Report;
use crate::cli::Common;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{self, Finding, Severity};
use crate::read::Node;
use crate::{json, render, version};
use mirrorshift_containerd::Version;
use mirrorshift_node::Root;

/// What `check` found.
pub(crate) struct Checked {
    /// The node's containerd.
    pub(crate) version: Version,
    /// What it makes of the files.
    pub(crate) findings: Vec<Finding>,
    /// The release that an upgrade would lead to, and what that one makes of them.
    pub(crate) target: Option<(Version, Vec<Finding>)>,
}

pub(super) fn run(common: &Common, target: Option<&str>, exit_code: bool) -> Result<Report, Failure> {
    let target = target.map(|text| version::parse(text, "--target")).transpose()?;
    let root = Root::open(&common.root)?;
    let node = Node::read(&root, common)?;
    let findings = findings::find(&node.outcome, &node.tree, &node.version);
    let target = match target {
        None => None,
        Some(target) => {
            let after = node.read_as(&root, &target)?;
            let found = findings::find(&after.outcome, &after.tree, &target);
            Some((target, found))
        }
    };
    let checked = Checked {
        version: node.version,
        findings,
        target,
    };
    let upgraded = checked.target.iter().flat_map(|(_, found)| found);
    let bad = checked
        .findings
        .iter()
        .chain(upgraded)
        .any(|finding| finding.severity <= Severity::Breaks);
    let exit = if exit_code && bad { Exit::Found } else { Exit::Done };
    let text = || render::findings::check(&checked);
    Ok(Report::either(common, exit, text, || json::check::document(&checked)))
}
