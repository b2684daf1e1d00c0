//! The commands and flags, as clap structs. This is the only place that reads the program's arguments.

use crate::error::CommandError;
use crate::exit::Exit;
use crate::json;
use crate::options::{AgentArgs, ChangeArgs, CommonArgs, GuardCommand, PolicyArgs};
use crate::output::{CommandOutput, text_width};
use clap::{Args, CommandFactory, Parser, Subcommand};
use mirrorshift_containerd::redact;
use std::ffi::OsString;
use std::path::PathBuf;

/// Help is not wider than this, because long lines are hard to read.
const HELP_WIDTH: usize = 100;
const EXAMPLES: &str = "\
Examples:
  mirrorshift check --target 2.2    Must this node be migrated before an upgrade to 2.2?
  mirrorshift plan                  Show what `migrate` would change
  sudo mirrorshift migrate          Migrate this node
  mirrorshift plan --root ./image --containerd-version 1.7.24";

/// Migrate containerd from `registry.mirrors` to `config_path` and hosts.toml, without changing where images are pulled from
#[derive(Debug, Parser)]
#[command(
    name = "mirrorshift",
    version,
    after_help = format!("{EXAMPLES}\n\n{}", Exit::HELP),
    max_term_width = HELP_WIDTH
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// The commands, in the order in which an operator uses them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Report settings that containerd rejects, ignores or will drop, and whether an upgrade is safe
    #[command(after_help = "Examples:
  mirrorshift check
  mirrorshift check --target 2.2            The worst release of the 2.2 line
  mirrorshift check --target 2.0,2.2.2,2.4  A table of several releases

Exits with 7 if a finding breaks pulls or is rejected by containerd, now or after the upgrade.")]
    Check(CheckArgs),
    /// Show the hosts that containerd tries for an image, or explain a finding
    #[command(after_help = "Examples:
  mirrorshift explain ghcr.io/org/app:1.2
  mirrorshift explain mirrors-deprecated")]
    Explain {
        /// An image as a pod names it (nginx, ghcr.io/org/app:1.2), or the id of a finding (mirrors-deprecated)
        #[arg(value_name = "IMAGE|FINDING")]
        subject: String,
    },
    /// Show what `migrate` would change: routes before and after, files, restart
    #[command(after_help = "Examples:
  mirrorshift plan
  mirrorshift plan --diff --routes
  mirrorshift plan --mirror ghcr.io=https://cache.example/v2/ghcr
  mirrorshift plan --root ./image --containerd-version 1.7.24

Nothing on the node is changed, except that --rehearse installs a copy of this program.")]
    Plan(PlanArgs),
    /// Apply the plan; on a running node, restart containerd, verify it, and undo the change on failure
    #[command(after_help = "Examples:
  sudo mirrorshift migrate
  sudo mirrorshift migrate --yes --verify-image registry.k8s.io/pause:3.10
  mirrorshift migrate --root ./image --containerd-version 1.7.24

On a running node the command prompts for confirmation. With --root or --no-restart it only writes files, and does not \
prompt.")]
    Migrate {
        #[command(flatten)]
        policy: PolicyArgs,
        /// Repeat a plan that was undone before because containerd did not serve with it
        #[arg(long, conflicts_with = "no_restart")]
        again: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Show whether this node is migrated, any change in progress, modified files, and past changes
    #[command(after_help = "Examples:
  mirrorshift status
  mirrorshift status --follow
  mirrorshift status -o json")]
    Status {
        /// Follow the current or last change. Interrupting this command does not stop the change
        #[arg(long)]
        follow: bool,
    },
    /// Restore the original files of the last change; on a running node, restart containerd and verify it
    #[command(after_help = "Examples:
  mirrorshift rollback --dry-run
  sudo mirrorshift rollback

A file that another program has modified since the change is not overwritten: the command refuses.")]
    Rollback {
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Run the agent of a Kubernetes node. Only the `DaemonSet` in manifests/ runs this
    #[command(after_help = "Example:
  mirrorshift agent --node-name worker-1

The agent changes the node as the policy specifies. Do not run it by hand on a node that has the DaemonSet.")]
    Agent(AgentArgs),
    /// Delete mirrorshift's own files, including backups. A migrated configuration stays and can no longer be rolled back
    #[command(after_help = "Examples:
  mirrorshift purge --dry-run
  sudo mirrorshift purge --yes")]
    Purge {
        /// Print what the command would do, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Skip the confirmation prompt
        #[arg(short, long)]
        yes: bool,
    },
    /// Print a shell completion script
    #[command(after_help = "Example:
  mirrorshift completions bash > /etc/bash_completion.d/mirrorshift")]
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command to a directory
    #[command(after_help = "Examples:
  mirrorshift man | man -l -
  mirrorshift man /usr/share/man/man1")]
    Man {
        /// Directory to write the pages to
        dir: Option<PathBuf>,
    },
    /// Print the version, the target and the supported containerd releases
    #[command(after_help = "Examples:
  mirrorshift version
  mirrorshift version -o json")]
    Version,
    /// Carry out a change. Run by the transient unit of a change; not meant for people
    #[command(hide = true)]
    Change {
        /// Id of the change
        run: String,
    },
    /// Observe the node and write the result to a file. Run by the transient unit that the agent starts; not meant for people
    #[command(hide = true)]
    Look {
        /// Id of the observation
        run: String,
    },
    /// Undo the change of an interrupted run. systemd runs this as `ExecStopPost` of the change unit
    #[command(hide = true)]
    UndoUnsettled {
        /// Id of the change
        run: String,
    },
    /// Start containerd in the sandbox of a rehearsal and record its requests; not meant for people
    #[command(hide = true)]
    RehearseInside {
        /// Directory of the rehearsal's request and report
        folder: PathBuf,
    },
    /// Undo an unsettled change at boot. Run by the units of the boot guard; not meant for people
    #[command(hide = true, subcommand)]
    Guard(GuardCommand),
}

/// The flags of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check an upgrade to this release (2.2.2) or line (2.2: its worst release). Repeat it, or separate with commas
    #[arg(long = "target", value_name = "VERSION", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// Exit with 0 whatever is found
    #[arg(long)]
    pub(crate) exit_zero: bool,
    /// Exit with 7 on findings that break or are rejected. This is the default
    #[arg(long, hide = true, conflicts_with = "exit_zero")]
    pub(crate) exit_code: bool,
}

/// The flags of `plan`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Show the whole diff of every file
    #[arg(long)]
    pub(crate) diff: bool,
    /// Show the routes of every registry, also the unchanged ones
    #[arg(long)]
    pub(crate) routes: bool,
    /// Copy this program to the node and start the node's containerd in a sandbox, with the original and with the new files,
    /// to record the hosts that it contacts. The running containerd is not affected. Needs root
    #[arg(long)]
    pub(crate) rehearse: bool,
    /// Exit with 7 if there is something to change
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// Reads the command line, or returns the output to print in place of running a command.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, CommandOutput> {
    let args: Vec<OsString> = args.collect();
    let parsed = Cli::try_parse_from(&args).map_err(|error| {
        // Colors are removed again where they do not belong.
        let text = redact::free_text(&error.render().ansi().to_string());
        if !error.use_stderr() {
            return CommandOutput::text(Exit::Done, text);
        }
        if is_json_requested(&args) {
            let plain = redact::free_text(&error.render().to_string());
            let message = plain.trim_start_matches("error: ").trim_end().to_owned();
            return json::failure(&CommandError::usage("arguments", message));
        }
        CommandOutput {
            exit: Exit::Usage,
            out: String::new(),
            err: text,
        }
    })?;
    Ok(Cli {
        common: CommonArgs {
            width: text_width(),
            ..parsed.common
        },
        ..parsed
    })
}

/// True if JSON output was requested on a command line that clap rejects.
fn is_json_requested(args: &[OsString]) -> bool {
    let is_pair = |pair: &[OsString]| (pair[0] == "--output" || pair[0] == "-o") && pair[1] == "json";
    args.windows(2).any(is_pair) || args.iter().any(|arg| arg == "--output=json" || arg == "-ojson")
}

/// Returns the whole command line, for manual pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Returns the command line without its hidden commands, for completions.
pub(crate) fn visible_command() -> clap::Command {
    let whole = Cli::command();
    let visible = whole.get_subcommands().filter(|command| !command.is_hide_set());
    CommonArgs::augment_args(clap::Command::new("mirrorshift"))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(visible.cloned().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use crate::exit::Exit;

    #[test]
    fn command_line_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn help_lists_every_exit_code_and_every_command_has_an_example() {
        let mut command = super::command();
        let help = command.render_help().to_string();
        for code in 0..=Exit::Found.code() {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}");
        }
        for command in super::visible_command().get_subcommands_mut() {
            let help = command.render_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }
}
