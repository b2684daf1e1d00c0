//! Replaces the running containerd's config.toml, live: guarded, restarted, verified, and undone when it does not serve as
//! before. What the tests on whole nodes run, and kill.
//!
//! `live_change apply FILE [IMAGE]` puts the bytes of FILE in place, and pulls IMAGE before they count; `rollback` goes back to those before; `undo` brings an unsettled
//! change back; `at-boot`, `after-boot`
//! and `prove WORD` are what the guard runs; `status` prints the phase. Exit codes are the program's: 0, 3, 4, 5, 6.

use mirrorshift_containerd::{DEFAULT_CONFIG, Entry};
use mirrorshift_node::{
    ChangeError, ChangePlan, Commands, NoRuntime, NodeErrorKind, Outcome, PROOF, Root, RuntimeTimeouts, Session,
    SystemdRuntime, status,
};
use mirrorshift_plan::{Digest, Expect, Step};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const UNIT: &str = "containerd.service";
/// For whatever is left of an earlier change, and for the lock.
const PATIENCE: Duration = Duration::from_mins(1);

type Failure = (u8, Box<dyn Error>);

fn main() -> ExitCode {
    match run() {
        Ok(said) => {
            writeln!(std::io::stdout(), "{said}").ok();
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
    let words: Vec<String> = std::env::args().skip(1).collect();
    let root = Root::open("/").map_err(|error| (1, error.into()))?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let id = format!("{seconds}-{}", std::process::id());
    let open = || Session::open(&root, seconds, &id).map_err(|error| (code(error.kind()), error.into()));
    let boot = boot()?;
    // Whoever undoes a change ends first what is left of it, and waits for who is just looking.
    let owner = || {
        mirrorshift_node::kill_change_unit(PATIENCE).map_err(|error| (1, error.into()))?;
        Session::open_with_timeout(&root, seconds, &id, PATIENCE).map_err(|error| (code(error.kind()), error.into()))
    };
    let mut live = SystemdRuntime::new(&root, UNIT, true, commands()?, times());
    let told = |outcome: Result<Outcome, ChangeError>| match outcome {
        Ok(outcome) => Ok(format!("{outcome:?}")),
        Err(error) => Err((code(error.kind()), error.into())),
    };
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["apply", file, image @ ..] if image.len() < 2 => {
            let content = std::fs::read(file).map_err(|error| (1, error.into()))?;
            let mut live = live.expecting(mirrorshift_node::Expectations {
                deprecation_gone: !content.windows(7).any(|word| word == b"mirrors"),
                image: image.first().map(|image| (*image).to_owned()),
            });
            let mut session = open()?.with_runtime(&mut live);
            session
                .undo_unsettled()
                .map_err(|error| (code(error.kind()), error.into()))?;
            told(session.apply(&plan(&root, content)))
        }
        ["rollback"] => told(open()?.with_runtime(&mut live).rollback()),
        ["at-boot" | "after-boot"] if !status(&root).is_ok_and(|status| status.is_of_another_boot(&boot)) => {
            Ok("the same boot".to_owned())
        }
        ["at-boot"] => {
            let mut nobody = NoRuntime;
            told(owner()?.with_runtime(&mut nobody).undo_at_boot())
        }
        ["undo" | "after-boot"] => told(owner()?.with_runtime(&mut live).undo_unsettled()),
        ["prove", word] => {
            std::fs::write(PROOF, word).map_err(|error| (1, error.into()))?;
            Ok("proved".to_owned())
        }
        ["status"] => {
            let status = status(&root).map_err(|error| (3, error.into()))?;
            Ok(status.phase().meaning().to_owned())
        }
        _ => Err(usage()),
    }
}

/// Short, as nobody's images are pulled on these nodes.
fn times() -> RuntimeTimeouts {
    RuntimeTimeouts {
        serve: Duration::from_secs(8),
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

fn boot() -> Result<String, Failure> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(|error| (1, error.into()))?;
    Ok(text.trim().to_owned())
}

fn plan(root: &Root, content: Vec<u8>) -> ChangePlan {
    let expect = match root.entry(DEFAULT_CONFIG) {
        Entry::File(bytes) => Expect::File(Digest::of(&bytes)),
        _ => Expect::Absent,
    };
    ChangePlan {
        digest: Digest::of(&content),
        containerd: "live".to_owned(),
        new_file_mode: 0o644,
        steps: vec![Step {
            path: DEFAULT_CONFIG.to_owned(),
            expect,
            content: Some(content),
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
