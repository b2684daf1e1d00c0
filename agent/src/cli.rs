//! What may be typed. The only place that looks at the program's arguments.

use crate::error::CommandError;
use crate::exit::Exit;
use crate::json;
use crate::options::{AgentArgs, ChangeArgs, CommonArgs, GuardCommand, PolicyArgs};
use crate::output::CommandOutput;
use clap::{Args, CommandFactory, Parser, Subcommand};
use mirrorshift_containerd::redact;
use std::ffi::OsString;
use std::path::PathBuf;

/// Moves a node's containerd from `registry.mirrors` to hosts.toml, with the same pulls before and after.
#[derive(Debug, Parser)]
#[command(name = "mirrorshift", version, after_help = Exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what would change: a diff of every file, the routes before and after
    Plan {
        /// Exit with 7 when there is something to change
        #[arg(long)]
        exit_code: bool,
        /// Try it in a sandbox with this node's containerd: who is really asked, before and after
        #[arg(long)]
        rehearse: bool,
        /// What should differ after the change.
        #[command(flatten)]
        wishes: PolicyArgs,
    },
    /// Do what `plan` shows
    Migrate {
        /// What should differ after the change.
        #[command(flatten)]
        wishes: PolicyArgs,
        /// Try a plan that was undone before, because containerd did not serve with it
        #[arg(long, conflicts_with = "no_restart")]
        again: bool,
        /// How far to go.
        #[command(flatten)]
        consent: ChangeArgs,
    },
    /// Go back to the bytes before the last change
    Rollback {
        /// How far to go.
        #[command(flatten)]
        consent: ChangeArgs,
    },
    /// Show how far the node is, what is in force, and what was changed before
    Status {
        /// Show the change that is under way, or was last, to its end; leaving ends nothing
        #[arg(long)]
        follow: bool,
    },
    /// Take away every trace of this program; what was migrated stays
    Purge {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show what this containerd refuses, ignores or will stop supporting in the node's files
    Check {
        /// Show what an upgrade to this version of containerd would change, too
        #[arg(long, value_name = "V")]
        target: Option<String>,
        /// Exit with 7 when something is found that stops the daemon, CRI or pulls
        #[arg(long)]
        exit_code: bool,
    },
    /// Show who is asked for an image, in order, and why
    Explain {
        /// The image, as a pod names it: nginx, ghcr.io/org/app:1.2, quay.io/org/app@sha256:…
        image: String,
    },
    /// Keep the node that this pod runs on as the policy says: what the pods of manifests/ run
    Agent(AgentArgs),
    /// Carry out a change that was ordered: what its unit runs
    #[command(hide = true)]
    Change {
        /// The run
        run: String,
    },
    /// Look at the node for the daemon: what the unit of a look runs
    #[command(hide = true)]
    Look {
        /// The run
        run: String,
    },
    /// Undo what a run has left: what systemd runs after it
    #[command(hide = true)]
    UndoUnsettled {
        /// The run
        run: String,
    },
    /// Start containerd in the sandbox that this runs in, and write down what it does
    #[command(hide = true)]
    RehearseInside {
        /// The folder of the order and the answer
        folder: PathBuf,
    },
    /// What undoes a change at the next boot
    #[command(hide = true, subcommand)]
    Guard(GuardCommand),
    /// Print shell completions
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        dir: Option<PathBuf>,
    },
}

/// Reads the command line, or says what to print instead.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, CommandOutput> {
    let args: Vec<OsString> = args.collect();
    Cli::try_parse_from(&args).map_err(|error| {
        // Colour is taken away again where it does not belong.
        let text = redact::free_text(&error.render().ansi().to_string());
        if !error.use_stderr() {
            return CommandOutput::text(Exit::Done, text);
        }
        if wants_json(&args) {
            let plain = redact::free_text(&error.render().to_string());
            let message = plain.trim_start_matches("error: ").trim_end().to_owned();
            return json::failure(&CommandError::usage("arguments", message));
        }
        CommandOutput {
            exit: Exit::Usage,
            out: String::new(),
            err: text,
        }
    })
}

/// Whether JSON was asked for, on a command line that could not be read.
fn wants_json(args: &[OsString]) -> bool {
    let pair = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    args.windows(2).any(pair) || args.iter().any(|arg| arg == "--output=json")
}

/// The whole description, for manual pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// What of it a person types, for completions: these do not leave out what is hidden.
pub(crate) fn typed() -> clap::Command {
    let whole = Cli::command();
    let typed = whole.get_subcommands().filter(|command| !command.is_hide_set());
    CommonArgs::augment_args(clap::Command::new("mirrorshift"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(typed.cloned().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_is_consistent() {
        super::command().debug_assert();
    }
}
