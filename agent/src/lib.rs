//! `mirrorshift`: moves a node's containerd from `registry.mirrors` to hosts.toml, and shows what that means first.
//!
//! [`cli`] says what may be typed, [`commands`] has one file for each command, [`render`] turns what they found into
//! text and [`json`] into documents with a schema.
//!
//! This crate never parses containerd's TOML to decide anything, never decides what changes, never writes a node's files
//! by itself, and never prints a secret.

/// The name of a change.
mod change_id;
/// A change of the running node.
mod change_run;
/// The commands and flags, as clap structs.
mod cli;
/// The cluster's API: what the agent tells there and asks for.
pub mod cluster;
/// One file for each command.
mod commands;
/// Asks a node's own containerd for its version.
mod containerd_version;
/// Why a command did not do what it was asked, ready to be shown.
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
/// The agent: keeps one node of a cluster as the policy says.
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
use std::io::{
    Write, {self},
};
use std::process::ExitCode;

/// Does what the program's arguments say.
pub fn run() -> ExitCode {
    let (colour, report) = match cli::parse(std::env::args_os()) {
        Ok(cli) => (cli.common.color, commands::run(&cli)),
        Err(report) => (ColorWhen::Auto, report),
    };
    let shown =
        print(io::stdout().lock(), colour, &report.out).and_then(|()| print(io::stderr().lock(), colour, &report.err));
    match shown {
        // Whoever closed the pipe has read enough; what was done stays done.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            // Nobody is left to be told when this fails too.
            writeln!(io::stderr(), "error: cannot print: {error}").ok();
            match report.exit {
                Exit::Done => Exit::Unexpected.into(),
                other => other.into(),
            }
        }
        _ => report.exit.into(),
    }
}

/// Writes `text`, without its colours where they do not belong, in as few calls as the other end takes.
fn print(mut out: impl RawStream, colour: ColorWhen, text: &str) -> io::Result<()> {
    let choice = match colour.into() {
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
