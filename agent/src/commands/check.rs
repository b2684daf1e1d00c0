//! What this containerd refuses, ignores or will stop supporting.

use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::results::check::{CheckResult, UpgradeTarget};
use crate::{containerd_version, json, render};
use mirrorshift_containerd::Severity;
use mirrorshift_containerd::findings::{ReleaseView, findings, upgrade};
use mirrorshift_node::Root;

fn view(node: &LoadedNode) -> ReleaseView<'_> {
    ReleaseView {
        reading: &node.outcome,
        version: &node.version,
    }
}

pub(super) fn run(common: &CommonArgs, target: Option<&str>, exit_code: bool) -> Result<CommandOutput, CommandError> {
    let target = target
        .map(|text| containerd_version::parse(text, "--target"))
        .transpose()?;
    let root = Root::open(&common.root)?;
    let node = LoadedNode::read(&root, &common.node_source())?;
    let found = findings(&node.outcome, &node.tree, &node.version);
    let target = match target {
        None => None,
        Some(target) => {
            let after = node.read_as(&root, &target)?;
            // The other reading began with this one's files, so its tree holds what either asks for.
            let changes = upgrade(view(&node), view(&after), &after.tree);
            let findings = findings(&after.outcome, &after.tree, &target);
            Some(UpgradeTarget {
                version: target,
                changes,
                findings,
            })
        }
    };
    let checked = CheckResult {
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
    Ok(text_or_json(common, exit, text, || json::check::document(&checked)))
}
