//! Replaces the config.toml of the running containerd: arms the boot guard, restarts containerd, checks it, and undoes
//! the change if containerd does not serve as before. The tests on whole nodes run this program, and kill it.
//!
//! `live_change apply FILE [IMAGE]` replaces config.toml with FILE, and pulls IMAGE before the change settles.
//! `rollback` restores the original file. `undo` undoes an unsettled change. `at-boot`, `after-boot` and `prove WORD`
//! are the commands of the boot guard. `status` prints the phase. The exit codes are those of mirrorshift: 0, 3, 4, 5,
//! 6.

use mirrorshift_containerd::{DEFAULT_CONFIG, Entry};
use mirrorshift_node::{
    ChangeError, ChangePlan, Commands, NoRuntime, NodeErrorKind, Outcome, PROOF_FILE, Root, RuntimeTimeouts, Session,
    SystemdRuntime, boot_id, status,
};
use mirrorshift_plan::{Digest, Expect, Step};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UNIT: &str = "containerd.service";
/// The time limit for ending an interrupted change, and for the lock.
const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

type Failure = (u8, Box<dyn Error>);

fn main() -> ExitCode {
    match run() {
        Ok(message) => {
            writeln!(std::io::stdout(), "{message}").ok();
            ExitCode::SUCCESS
        }
        Err((code, error)) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            writeln!(std::io::stderr(), "{text}").ok();
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<String, Failure> {
    let usage = || {
        (
            2,
            Box::from("usage: live_change apply FILE [IMAGE]|rollback|undo|at-boot|after-boot|prove WORD|status"),
        )
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Root::open("/").map_err(|error| (1, error.into()))?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let id = format!("{seconds}-{}", std::process::id());
    let open = || Session::open(&root, seconds, &id).map_err(|error| (code(error.kind()), error.into()));
    let boot = boot_id().map_err(|error| (1, error.into()))?;
    // An undo first ends the processes of the interrupted change, and waits for the lock, because a short-lived reader
    // may hold it.
    let open_for_undo = || {
        mirrorshift_node::kill_change_unit(LOCK_TIMEOUT).map_err(|error| (1, error.into()))?;
        Session::open_with_timeout(&root, seconds, &id, LOCK_TIMEOUT)
            .map_err(|error| (code(error.kind()), error.into()))
    };
    let mut runtime = SystemdRuntime::new(&root, UNIT, true, commands()?, times());
    let outcome_text = |outcome: Result<Outcome, ChangeError>| match outcome {
        Ok(outcome) => Ok(format!("{outcome:?}")),
        Err(error) => Err((code(error.kind()), error.into())),
    };
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apply", file, image @ ..] if image.len() < 2 => {
            let contents = std::fs::read(file).map_err(|error| (1, error.into()))?;
            let mut runtime = runtime.expecting(mirrorshift_node::Expectations {
                deprecation_gone: !contents.windows(7).any(|word| word == b"mirrors"),
                image: image.first().map(|image| (*image).to_owned()),
            });
            let mut session = open()?.with_runtime(&mut runtime);
            session
                .undo_unsettled()
                .map_err(|error| (code(error.kind()), error.into()))?;
            outcome_text(session.apply(&plan(&root, contents)))
        }
        ["rollback"] => outcome_text(open()?.with_runtime(&mut runtime).rollback()),
        ["at-boot" | "after-boot"] if !status(&root).is_ok_and(|status| status.is_of_another_boot(&boot)) => {
            Ok("the same boot".to_owned())
        }
        ["at-boot"] => {
            let mut runtime = NoRuntime;
            outcome_text(open_for_undo()?.with_runtime(&mut runtime).undo_at_boot())
        }
        ["undo" | "after-boot"] => outcome_text(open_for_undo()?.with_runtime(&mut runtime).undo_unsettled()),
        ["prove", word] => {
            std::fs::write(PROOF_FILE, word).map_err(|error| (1, error.into()))?;
            Ok("proven".to_owned())
        }
        ["status"] => {
            let status = status(&root).map_err(|error| (3, error.into()))?;
            Ok(status.phase().meaning().to_owned())
        }
        _ => Err(usage()),
    }
}

/// Returns short time limits, because the nodes of the tests have few images and containers.
fn times() -> RuntimeTimeouts {
    RuntimeTimeouts {
        healthy: Duration::from_secs(8),
        restart: Duration::from_secs(20),
        pull: Duration::from_secs(20),
        ..RuntimeTimeouts::default()
    }
}

fn commands() -> Result<Commands, Failure> {
    let program = std::env::current_exe().map_err(|error| (1, error.into()))?;
    let command = |word: &str| vec![program.display().to_string(), word.to_owned()];
    Ok(Commands {
        at_boot: command("at-boot"),
        after_boot: command("after-boot"),
        prove: command("prove"),
    })
}

fn plan(root: &Root, contents: Vec<u8>) -> ChangePlan {
    let expect = match root.entry(DEFAULT_CONFIG) {
        Entry::File(bytes) => Expect::File(Digest::of(&bytes)),
        _ => Expect::Absent,
    };
    ChangePlan {
        digest: Digest::of(&contents),
        containerd: "live".to_owned(),
        new_file_mode: 0o644,
        steps: vec![Step {
            path: DEFAULT_CONFIG.to_owned(),
            expect,
            content: Some(contents),
            why: "an example".to_owned(),
        }],
    }
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
