//! Rehearses a plan: runs the node's own containerd in a sandbox with the original and the new files, before anything
//! changes.

use crate::change_run::start::CALL;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::results::rehearsal::RehearsalResult;
use mirrorshift_node::{Baseline, Bus, Facts, PROGRAM, Rehearsal, Root, SandboxTimeouts, run_in_sandbox};
use mirrorshift_plan::Plan;
use mirrorshift_plan::rehearsal::{Expected, compare, probes};
use std::path::Path;

/// The subcommand that runs inside the sandbox.
const INSIDE: &str = "rehearse-inside";

/// Rehearses `plan` on the node of `facts`. The program must be installed.
pub(crate) fn rehearse(
    root: &Root,
    node: &LoadedNode,
    plan: &Plan,
    facts: &Facts,
) -> Result<RehearsalResult, CommandError> {
    let loaded = Baseline::from_facts(facts)
        .map(|baseline| baseline.plugins)
        .ok_or_else(|| {
            CommandError::new(Exit::Refused, "unknown", "containerd does not list its plugins")
                .hint("check that containerd answers: `ctr version`")
        })?;
    let probes = probes(plan);
    let command = [PROGRAM, INSIDE].map(str::to_owned);
    let times = SandboxTimeouts::default();
    let rehearsal = Rehearsal::new(root, facts, &node.files(), plan, &probes, &command, times)?;
    let reports = rehearsal.run(&Bus::connect(CALL)?)?;
    let expected = Expected {
        plan,
        probes: &probes,
        loaded: &loaded,
    };
    let disagreements = compare(&expected, &reports);
    Ok(RehearsalResult {
        probes,
        reports,
        disagreements,
    })
}

/// Does this program's part inside the sandbox.
pub(crate) fn in_sandbox(folder: &Path) -> Result<(), CommandError> {
    run_in_sandbox(folder).map_err(|error| CommandError::new(Exit::Unexpected, "sandbox", error.to_string()))
}
