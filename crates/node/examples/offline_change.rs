//! Runs one fixed change on a folder, so that the kill-point test has a small process to trace and kill.
//!
//! `offline_change apply ROOT` creates a folder with a file in it and replaces two files. `offline_change rollback
//! ROOT` restores the original files. `offline_change status ROOT` prints the phase. Like every command of mirrorshift,
//! `apply` first recovers from an interrupted run, and reads the files and plans only afterwards. The exit codes are
//! those of mirrorshift: 0, 3, 4, 5, 6.

use mirrorshift_containerd::Entry;
use mirrorshift_node::{ChangePlan, NodeErrorKind, Root, Session, status};
use mirrorshift_plan::{Digest, Expect, Step};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

const FILES: [(&str, &str); 3] = [
    (
        "/etc/containerd/certs.d/docker.io/hosts.toml",
        "server = \"https://registry-1.docker.io\"\n",
    ),
    (
        "/etc/containerd/conf.d/mirrors.toml",
        "version = 2\n# the mirrors moved\n",
    ),
    (
        "/etc/containerd/config.toml",
        "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n# config_path\n",
    ),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            print_error(&text);
            ExitCode::from(code)
        }
    }
}

/// Prints an error. A closed stderr does not change the exit code.
fn print_error(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

fn print(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

type Failure = (u8, Box<dyn Error>);

fn run() -> Result<(), Failure> {
    let usage = || (2, Box::from("usage: offline_change apply|rollback|status ROOT [ID]"));
    let mut args = std::env::args().skip(1);
    let (Some(command), Some(root), id) = (args.next(), args.next(), args.next()) else {
        return Err(usage());
    };
    let id = id.unwrap_or_else(|| "fixed".to_owned());
    let root = Root::open(root).map_err(|error| (1, error.into()))?;
    let open = || Session::open(&root, 1_700_000_000, &id).map_err(|error| (code(error.kind()), error.into()));
    let failed = |error: mirrorshift_node::ChangeError| (code(error.kind()), error.into());
    match command.as_str() {
        "apply" => {
            let mut session = open()?;
            session.recover().map_err(failed)?;
            let outcome = session.apply(&plan(&root)).map_err(failed)?;
            print(&format!("{outcome:?}"));
        }
        "rollback" => {
            let outcome = open()?.rollback().map_err(failed)?;
            print(&format!("{outcome:?}"));
        }
        "status" => {
            let status = status(&root).map_err(|error| (3, error.into()))?;
            print(status.phase().meaning());
        }
        _ => return Err(usage()),
    }
    Ok(())
}

fn code(kind: NodeErrorKind) -> u8 {
    match kind {
        NodeErrorKind::Unfinished => 1,
        NodeErrorKind::Refused => 3,
        NodeErrorKind::Undone => 4,
        NodeErrorKind::Stuck => 5,
        NodeErrorKind::Locked => 6,
    }
}

fn plan(root: &Root) -> ChangePlan {
    let step = |(path, content): &(&str, &str)| Step {
        path: (*path).to_owned(),
        expect: match root.entry(path) {
            Entry::File(bytes) => Expect::File(Digest::of(&bytes)),
            _ => Expect::Absent,
        },
        content: Some(content.as_bytes().to_vec()),
        why: "an example".to_owned(),
    };
    ChangePlan {
        digest: Digest::of(b"the fixed plan"),
        containerd: "1.7.24".to_owned(),
        new_file_mode: 0o644,
        steps: FILES.iter().map(step).collect(),
    }
}
