//! What may be typed. The only place that looks at the program's arguments.

use crate::commands::CommandOutput;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::json;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use mirrorshift_containerd::redact;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// The node's file system: `/`, or a folder that holds an image or a copy of one
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// The node's containerd, such as 1.7.24; asked of the node when absent, and needed with another --root
    #[arg(long, global = true, value_name = "V")]
    pub(crate) containerd_version: Option<String>,
    /// Where containerd's configuration starts, as its own --config says
    #[arg(long, global = true, value_name = "PATH", default_value = mirrorshift_containerd::DEFAULT_CONFIG)]
    pub(crate) config: String,
    /// Text for people, or one JSON document (docs/schemas)
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// When to use colour; `NO_COLOR` is obeyed
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorWhen,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for people.
    Text,
    /// One JSON document.
    Json,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<ColorWhen> for anstream::ColorChoice {
    fn from(when: ColorWhen) -> Self {
        match when {
            ColorWhen::Auto => Self::Auto,
            ColorWhen::Always => Self::Always,
            ColorWhen::Never => Self::Never,
        }
    }
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
        consent: Consent,
    },
    /// Go back to the bytes before the last change
    Rollback {
        /// How far to go.
        #[command(flatten)]
        consent: Consent,
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

/// What the agent is told by its pod.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The node that the pod runs on
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: String,
    /// The pod's namespace, where the slots are
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "mirrorshift-system"
    )]
    pub(crate) pod_namespace: String,
    /// The folder of policy.yaml, as a `ConfigMap` is mounted
    #[arg(long, value_name = "DIR", default_value = "/etc/mirrorshift/policy")]
    pub(crate) policy: PathBuf,
    /// Where /metrics, /healthz and /readyz are answered
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9151")]
    pub(crate) listen: SocketAddr,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// How often the node is looked at when nothing is new
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Duration,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

/// What the guard's units run.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Put the old bytes back, before containerd starts
    AtBoot,
    /// See whether containerd serves with them
    AfterBoot,
    /// Leave a word that shows that this program runs
    Prove {
        /// The word
        word: String,
    },
}

/// What should differ after a change. Values are read later: clap would repeat a wrong one, password and all.
#[derive(Debug, Default, Args)]
pub(crate) struct PolicyArgs {
    /// A `MirrorPolicy` file (YAML) that says what should differ after the change
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Pull HOST's images from the mirror at URL first; several for one host are asked in their order
    #[arg(long = "mirror", value_name = "HOST=URL")]
    pub(crate) mirrors: Vec<String>,
    /// What becomes of the mirrors of `"*"`: kept, dropped, or left to these registries alone
    #[arg(long, value_name = "keep|drop|HOST,…")]
    pub(crate) wildcard: Option<String>,
}

/// How far a command that changes files may go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Consent {
    /// Write files and nothing else: containerd is not restarted
    #[arg(long)]
    pub(crate) no_restart: bool,
    /// Do not ask before containerd is restarted
    #[arg(long)]
    pub(crate) yes: bool,
    /// Go on although a restart of this node's containerd kills its containers
    #[arg(long, conflicts_with = "no_restart")]
    pub(crate) accept_restart_of_containers: bool,
    /// Pull IMAGE once containerd serves again, and undo the change when that fails
    #[arg(long, value_name = "IMAGE", conflicts_with = "no_restart")]
    pub(crate) verify_image: Option<String>,
    /// How long containerd may take to serve as before after its restart
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration, conflicts_with = "no_restart")]
    pub(crate) serve_within: Duration,
    /// How long to wait for pulls and other jobs to end before anything is touched
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration, conflicts_with = "no_restart")]
    pub(crate) wait: Duration,
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
