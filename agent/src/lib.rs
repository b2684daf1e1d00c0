//! `mirrorshift`: migrates a node's containerd from `registry.mirrors` to `config_path` and hosts.toml, and shows the effect
//! before it changes anything.
//!
//! [`cli`] has the commands and flags, [`commands`] one file per command. A command returns one of [`results`], which
//! [`render`] prints as text and [`json`] as a document with a schema. A change of a running node runs in a transient unit
//! ([`change_run`]); [`reconcile`] is the agent of a cluster's node, and [`cluster`] its part of the Kubernetes API.
//!
//! This crate never parses containerd's TOML to decide anything, never decides what changes, never writes a node's files by
//! itself, and never prints a secret.

/// The name of a change.
mod change_id;
/// A change of the running node, in a transient unit.
mod change_run;
/// The commands and flags, as clap structs.
mod cli;
/// The Kubernetes API: objects that the agent reads and writes.
pub mod cluster;
/// The commands, one file each.
mod commands;
/// The version of a node's containerd.
mod containerd_version;
/// Detects a distribution that writes a node's configuration.
mod distribution_check;
/// The error of a command.
mod error;
/// The exit codes.
mod exit;
/// Documents for programs.
mod json;
/// Reads a node's files.
mod node;
/// The observation of the node.
mod observe;
/// The options that several commands share.
mod options;
/// The output of a command.
mod output;
/// Every `error.reason`.
mod reasons;
/// The agent of a cluster's node: keeps the node as the policy specifies.
pub mod reconcile;
/// Text for people.
mod render;
/// The results of the commands, as plain data.
mod results;
/// Diffs of files, without secrets.
mod unified_diff;
/// The advice about a wildcard with a single upstream.
mod wildcard_advice;
/// Words that text and JSON share.
mod wording;

use crate::exit::Exit;
use crate::options::ColorWhen;
use anstream::adapter::strip_str;
use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command of the program's arguments.
pub fn run() -> ExitCode {
    let (color, output) = match cli::parse(std::env::args_os()) {
        Ok(cli) => (cli.common.color, commands::run(&cli)),
        Err(output) => (ColorWhen::Auto, output),
    };
    let printed =
        print(io::stdout().lock(), color, &output.out).and_then(|()| print(io::stderr().lock(), color, &output.err));
    match printed {
        // A reader that closed the pipe has read enough. The command did its work.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // If this fails too, there is no stream left to report it on.
            writeln!(io::stderr(), "error: cannot print: {error}").ok();
            match output.exit {
                Exit::Done => Exit::Unexpected.into(),
                other => other.into(),
            }
        }
        _ => output.exit.into(),
    }
}

/// Writes `text`, without its colors where they do not belong, in as few calls as possible.
fn print(mut out: impl RawStream, color: ColorWhen, text: &str) -> io::Result<()> {
    let choice = match color.into() {
        ColorChoice::Auto => AutoStream::choice(&out),
        given => given,
    };
    if choice == ColorChoice::Never {
        out.write_all(strip_str(text).to_string().as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}
