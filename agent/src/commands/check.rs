//! `check`: the settings that containerd rejects, ignores or will drop, now and after an upgrade.

use crate::commands::load::{Loaded, load_node};
use crate::commands::print::text_or_json;
use crate::containerd_version;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::results::check::{CheckResult, UpgradeTarget, is_breaking};
use crate::{json, render};
use mirrorshift_containerd::findings::{ReleaseView, findings, upgrade};
use mirrorshift_containerd::{Finding, Version};
use mirrorshift_plan::policy::Policy;

fn view(node: &LoadedNode) -> ReleaseView<'_> {
    ReleaseView {
        reading: &node.outcome,
        version: &node.version,
    }
}

pub(super) fn run(common: &CommonArgs, targets: &[String], exit_zero: bool) -> Result<CommandOutput, CommandError> {
    // Every target is parsed first, so that a typo is reported before any file is read.
    let targets = targets
        .iter()
        .map(|text| {
            Ok((
                text.clone(),
                containerd_version::parse_release_or_line(text, "--target")?,
            ))
        })
        .collect::<Result<Vec<_>, CommandError>>()?;
    let loaded = load_node(common)?;
    let node = &loaded.node;
    let mut result = CheckResult {
        version: node.version.clone(),
        findings: findings(&node.outcome, &node.tree, &node.version),
        targets: targets
            .into_iter()
            .map(|(requested, releases)| worst_release(&loaded, &requested, &releases))
            .collect::<Result<_, _>>()?,
        is_migration_needed: node.plan(&Policy::default()).is_ok_and(|plan| !plan.is_empty()),
        sources: loaded.sources.clone(),
    };
    if !result.is_migration_needed {
        let upgraded = result
            .targets
            .iter_mut()
            .flat_map(|target| target.changes.iter_mut().chain(&mut target.findings));
        result
            .findings
            .iter_mut()
            .chain(upgraded)
            .for_each(recommend_manual_edit);
    }
    let is_bad = result.findings.iter().any(is_breaking) || result.targets.iter().any(|target| !target.is_safe());
    let exit = if is_bad && !exit_zero { Exit::Found } else { Exit::Done };
    let text = || {
        render::findings::check(
            &result,
            loaded.root.is_live(),
            common.quiet,
            common.verbose,
            common.width,
        )
    };
    Ok(text_or_json(common, exit, text, || json::check::document(&result)))
}

/// Replaces a remedy that recommends `migrate`. The planner has nothing to do on this node: the setting takes effect only after
/// the upgrade.
fn recommend_manual_edit(finding: &mut Finding) {
    if ["`mirrorshift migrate`", "`mirrorshift plan`"]
        .iter()
        .any(|command| finding.remedy.contains(command))
    {
        "Move the setting to hosts.toml files by hand, or remove it. It takes no effect today, so `mirrorshift migrate` has \
         nothing to do."
            .clone_into(&mut finding.remedy);
    }
}

/// Checks every release and returns the worst.
fn worst_release(loaded: &Loaded, requested: &str, releases: &[Version]) -> Result<UpgradeTarget, CommandError> {
    let mut worst: Option<UpgradeTarget> = None;
    for release in releases {
        let after = loaded.node.read_as(&loaded.root, release)?;
        // The second reading starts with the files of the first, so its tree has the files of both.
        let target = UpgradeTarget {
            requested: requested.to_owned(),
            version: release.clone(),
            changes: upgrade(view(&loaded.node), view(&after), &after.tree),
            findings: findings(&after.outcome, &after.tree, release),
        };
        if worst.as_ref().is_none_or(|worst| target.rank() < worst.rank()) {
            worst = Some(target);
        }
    }
    // A line has at least one release.
    worst.ok_or_else(|| CommandError::usage("containerd-version", format!("--target: `{requested}` has no release")))
}
