//! The commands, one file each.
//!
//! A command reads the node, decides with the crates, acts with the crates, and returns a result. How a result is printed
//! is in [`crate::render`] and [`crate::json`].

/// Findings, and the safety of an upgrade.
pub(crate) mod check;
/// Completions and manual pages.
pub(crate) mod completions;
/// Confirmation by the operator.
pub(crate) mod confirm;
/// The route of an image, or the documentation of a finding.
pub(crate) mod explain;
/// Reads the node that the options name.
pub(crate) mod load;
/// Applies the plan.
pub(crate) mod migrate;
/// Shows the plan.
pub(crate) mod plan;
/// Prints a result as text or JSON.
pub(crate) mod print;
/// Deletes mirrorshift's own files.
pub(crate) mod purge;
/// Restores the original files of the last change.
pub(crate) mod rollback;
/// The state of the node.
pub(crate) mod status;
/// The version of the program.
pub(crate) mod version;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::options::OutputFormat;
use crate::output::{CommandOutput, error_width};
use crate::{json, render};
use mirrorshift_containerd::redact;

/// Runs the command that was typed.
pub(crate) fn run(cli: &Cli) -> CommandOutput {
    let common = &cli.common;
    let nothing_to_print = || CommandOutput::text(Exit::Done, String::new());
    let done = match &cli.command {
        Command::Check(args) => check::run(common, &args.targets, args.exit_zero),
        Command::Explain { subject } => explain::run(common, subject),
        Command::Plan(args) => plan::run(common, args),
        Command::Migrate { policy, again, change } => migrate::run(common, policy, *again, change),
        Command::Status { follow } => status::run(common, *follow),
        Command::Rollback { change } => rollback::run(common, change),
        Command::Agent(args) => crate::reconcile::run(&common.node_source(), args).map(|()| nothing_to_print()),
        Command::Purge { dry_run, yes } => purge::run(common, *dry_run, *yes),
        Command::Completions { shell } => Ok(completions::completions(*shell)),
        Command::Man { dir } => completions::manual(dir.as_deref()),
        Command::Version => Ok(version::run(common)),
        Command::Change { run } => Ok(crate::change_run::carry_out::run(run)),
        Command::Look { run } => crate::observe::observe_unit::run(run),
        Command::UndoUnsettled { run } => crate::change_run::undo::undo_unsettled(run),
        Command::RehearseInside { folder } => {
            crate::change_run::rehearse::in_sandbox(folder).map(|()| nothing_to_print())
        }
        Command::Guard(command) => crate::change_run::undo::guard(command),
    };
    done.unwrap_or_else(|error| match common.output {
        OutputFormat::Text => CommandOutput {
            exit: error.exit,
            out: String::new(),
            err: redact::free_text(&render::error::text(&error, error_width())),
        },
        OutputFormat::Json => json::failure(&error),
    })
}
