//! The options that several commands share.
//!
//! [`crate::cli`] flattens these structs into the commands. Code under the command line takes plain values instead: the
//! files are named by a [`NodeSource`], the desired change by a [`crate::node::PolicySource`].

use crate::node::NodeSource;
use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct CommonArgs {
    /// Directory that contains the node's `etc/` and `usr/`: `/`, or an image or a copy of a node
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Version of the node's containerd, such as 1.7.24 [default: `containerd --version`; required with --root]
    #[arg(long, global = true, value_name = "VERSION")]
    pub(crate) containerd_version: Option<String>,
    /// Path of containerd's configuration on the node, as in containerd's own --config [default: /etc/containerd/config.toml]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<String>,
    /// Output format: text, or one JSON document (see docs/json.md)
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub(crate) output: OutputFormat,
    /// When to use color: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) color: ColorWhen,
    /// Print only the summary of check, plan and status
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print everything: every file that was read, whole diffs, all routes
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Columns of the text output. It is measured, not typed.
    #[arg(skip)]
    pub(crate) width: usize,
}

impl CommonArgs {
    /// Returns the files that these options name.
    pub(crate) fn node_source(&self) -> NodeSource {
        NodeSource {
            root: self.root.clone(),
            config_path: self.config.clone(),
            containerd_version: self.containerd_version.clone(),
        }
    }
}

/// The format of what a command prints on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Text for people.
    Text,
    /// One JSON document.
    Json,
}

/// When output has colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal.
    Auto,
    Always,
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

/// The flags that describe the desired change.
///
/// They stay strings here and are parsed later, because clap prints an invalid value in its error message and a value
/// may contain a password.
#[derive(Debug, Default, Args)]
pub(crate) struct PolicyArgs {
    /// Read the desired change from a `MirrorPolicy` file (YAML)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Pull the images of HOST from the mirror at URL first; repeat it for several mirrors, tried in this order
    #[arg(long = "mirror", value_name = "HOST=URL")]
    pub(crate) mirrors: Vec<String>,
    /// Keep the mirrors of `"*"`, drop them, or use them only for these registries
    #[arg(long, value_name = "keep|drop|HOST,…")]
    pub(crate) wildcard: Option<String>,
}

/// The flags of a command that changes files.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ChangeArgs {
    /// Print what the command would do, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Only write the files; do not restart containerd
    #[arg(long)]
    pub(crate) no_restart: bool,
    /// Proceed even if restarting containerd kills running containers
    #[arg(long, conflicts_with = "no_restart")]
    pub(crate) accept_restart_of_containers: bool,
    /// Pull IMAGE after the restart, and undo the change if the pull fails
    #[arg(long, value_name = "IMAGE", conflicts_with = "no_restart")]
    pub(crate) verify_image: Option<String>,
    /// Time in which containerd must serve again after its restart [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "no_restart")]
    pub(crate) serve_within: Option<Duration>,
    /// Time to wait for running pulls and other systemd jobs to end before the change begins [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "no_restart")]
    pub(crate) wait: Option<Duration>,
}

/// The flags of `mirrorshift agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Name of the node on which the pod runs
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: String,
    /// Namespace of the pod, in which the agents keep their Leases
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = "mirrorshift-system"
    )]
    pub(crate) pod_namespace: String,
    /// Directory of policy.yaml, where the `ConfigMap` is mounted
    #[arg(long, value_name = "DIR", default_value = "/etc/mirrorshift/policy")]
    pub(crate) policy: PathBuf,
    /// Address that serves /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9151")]
    pub(crate) listen: SocketAddr,
    /// Format of the log: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
    /// Longest time between two observations of the node
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Duration,
}

/// The format of the agent's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON document per line.
    Json,
}

/// The commands of the boot guard's units.
#[derive(Debug, Subcommand)]
pub(crate) enum GuardCommand {
    /// Restore the original files before containerd starts
    AtBoot,
    /// Check that containerd serves with the original files
    AfterBoot,
    /// Write WORD to a file, which proves that systemd can run this program
    Prove {
        /// Text to write
        word: String,
    },
}
