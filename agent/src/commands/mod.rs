//! One file for each command. A command reads, decides by the crates, acts by the crates, and says what came of it.

/// What this containerd refuses, ignores or will stop supporting.
pub(crate) mod check;
/// Completions and manual pages.
pub(crate) mod completions;
/// Asks a person.
pub(crate) mod confirm;
/// The route of one image.
pub(crate) mod explain;
/// Do what `plan` shows.
pub(crate) mod migrate;
/// What would change.
pub(crate) mod plan;
/// Prints a result as text or JSON.
pub(crate) mod print;
/// Takes the program's traces away.
pub(crate) mod purge;
/// Back to the bytes before the last change.
pub(crate) mod rollback;
/// What is in force, and history.
pub(crate) mod status;

use crate::change_id::ChangeId;
use crate::cli::{Cli, Command};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::PolicySource;
use crate::options::{OutputFormat, PolicyArgs};
use crate::output::CommandOutput;
use crate::{json, render};
use mirrorshift_containerd::redact;
use mirrorshift_node::{Root, Session};

/// Carries out a command line.
pub(crate) fn run(cli: &Cli) -> CommandOutput {
    let common = &cli.common;
    let done = match &cli.command {
        Command::Plan {
            exit_code,
            rehearse,
            wishes,
        } => plan::run(common, wishes, *exit_code, *rehearse),
        Command::Migrate { wishes, again, consent } => migrate::run(common, wishes, *again, consent),
        Command::Rollback { consent } => rollback::run(common, consent),
        Command::Status { follow } => status::run(common, *follow),
        Command::Purge { yes } => purge::run(common, *yes),
        Command::Change { run } => Ok(crate::change_run::carry_out::run(run)),
        Command::Agent(args) => {
            crate::reconcile::run(&common.node_source(), args).map(|()| CommandOutput::text(Exit::Done, String::new()))
        }
        Command::Look { run } => crate::observe::observe_unit::run(run),
        Command::UndoUnsettled { run } => crate::change_run::undo::undo_unsettled(run),
        Command::RehearseInside { folder } => {
            crate::change_run::rehearse::in_sandbox(folder).map(|()| CommandOutput::text(Exit::Done, String::new()))
        }
        Command::Guard(word) => crate::change_run::undo::guard(word),
        Command::Check { target, exit_code } => check::run(common, target.as_deref(), *exit_code),
        Command::Explain { image } => explain::run(common, image),
        Command::Completions { shell } => Ok(completions::completions(*shell)),
        Command::Man { dir } => completions::manual(dir.as_deref()),
    };
    done.unwrap_or_else(|failure| match common.output {
        OutputFormat::Text => CommandOutput {
            exit: failure.exit,
            out: String::new(),
            err: redact::free_text(&render::error::text(&failure)),
        },
        OutputFormat::Json => json::failure(&failure),
    })
}

/// Opens a session on the node.
fn session(root: &Root) -> Result<Session<'_>, CommandError> {
    let id = ChangeId::generate();
    Ok(Session::open(root, id.created, &id.name)?)
}

/// Reads the flags that describe the desired change.
fn policy_source(args: &PolicyArgs) -> Result<PolicySource, CommandError> {
    PolicySource::read(args.policy.as_deref(), &args.mirrors, args.wildcard.as_deref())
}
