//! One containerd from its start to its end.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::root::{Plan, SOCKET};
use crate::lab::cri::Cri;
use crate::lab::scene::Boot;

/// How long a containerd may take to answer or to end. They take 0.1 s on an idle machine.
pub(super) const START: Duration = Duration::from_secs(20);
/// Between two looks at the socket.
const STEP: Duration = Duration::from_millis(5);
/// How much of the log is kept.
const LOG: usize = 256 * 1024;

/// A running containerd in a mount namespace of its own. Dropping it kills it.
pub(super) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    /// Until all of the log was read.
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(super) async fn start(plan: &Plan) -> io::Result<Self> {
        // `unshare` becomes this program, which becomes containerd: one process, so its id is containerd's.
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .arg(std::env::current_exe()?)
            .arg("enter")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut stdin), Some(mut stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                let mut chunk = [0; 8192];
                while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.extend_from_slice(&chunk[..read]);
                    let over = log.len().saturating_sub(LOG);
                    log.drain(..over);
                }
            }
        });
        stdin.write_all(&serde_json::to_vec(plan)?).await?;
        Ok(Self {
            child,
            log,
            reader: Some(reader),
        })
    }

    /// Waits until CRI answers, or until it is clear that it never will.
    pub(super) async fn wait(&mut self) -> io::Result<(Boot, Option<Cri>)> {
        let deadline = Instant::now() + START;
        let mut last = String::from("no socket");
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                let why = last_words(&self.whole_log().await).unwrap_or_else(|| status.to_string());
                // The lab's own failure is no containerd's opinion of its files.
                if status.code() == Some(super::FAILED.into()) {
                    return Err(io::Error::other(why));
                }
                return Ok((Boot::Refuses(why), None));
            }
            if let Some(socket) = self.socket()
                && let Ok(mut cri) = Cri::connect(socket).await
            {
                match cri.status().await {
                    Ok(ready) if ready.runtime => return Ok((Boot::CriOk, Some(cri))),
                    Ok(_) => last = "CRI says that the runtime is not ready".into(),
                    // containerd serves only when all of its plugins are loaded, so this is final.
                    Err(status) if status.code() == Code::Unimplemented => {
                        let why = cri_error(&self.log()).unwrap_or_else(|| status.message().into());
                        return Ok((Boot::CriDead(why), None));
                    }
                    Err(status) => last = status.message().into(),
                }
            }
            sleep(STEP).await;
        }
        Ok((Boot::NoAnswer(last), None))
    }

    /// The socket as seen from here, through the namespace of the process.
    fn socket(&self) -> Option<PathBuf> {
        let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", self.child.id()?));
        socket.exists().then_some(socket)
    }

    /// What containerd wrote, up to now.
    fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Ends it at once (its state is thrown away, so there is nothing to save) and gives its log.
    pub(super) async fn stop(mut self) -> io::Result<String> {
        self.child.kill().await?;
        Ok(self.whole_log().await)
    }

    /// The log of a containerd that has ended, whose last words may still be in the pipe.
    async fn whole_log(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // Bounded, as a program that containerd started may hold the pipe's other end.
            let _ = tokio::time::timeout(START, reader).await;
        }
        self.log()
    }
}

/// Why the CRI plugin did not load: the last complaint that names it.
fn cri_error(log: &str) -> Option<String> {
    let complaint = |line: &&str| {
        (line.contains("failed to load plugin") || line.contains("invalid plugin config"))
            && (line.contains("cri") || line.contains("CRI"))
    };
    // 2.x loads CRI in parts. The first part that fails is the cause, the others fail for want of it.
    log.lines().find(complaint).map(field)
}

/// The `error` of a log line, which is logfmt or JSON as the files say; the whole line when there is none.
fn field(line: &str) -> String {
    if let Ok(fields) = serde_json::from_str::<serde_json::Value>(line)
        && let Some(error) = fields["error"].as_str()
    {
        return error.into();
    }
    let Some((_, rest)) = line.split_once("error=\"") else {
        return line.into();
    };
    // The value ends at the first quote that is not escaped.
    let mut value = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    value
}

/// With what containerd gave up: the line `containerd: …`, or else the error of the last one.
fn last_words(log: &str) -> Option<String> {
    let given_up = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("containerd: "))
        .map(str::to_owned);
    given_up.or_else(|| log.lines().rev().find(|line| !line.trim().is_empty()).map(field))
}

#[cfg(test)]
mod tests {
    use super::{cri_error, field, last_words};

    #[test]
    fn errors_are_read_from_both_log_formats() {
        assert_eq!(
            field(r#"level=warning msg="failed" error="a \"b\" c" id=x"#),
            "a \"b\" c"
        );
        assert_eq!(field(r#"{"error":"a \"b\" c","id":"x"}"#), "a \"b\" c");
        assert_eq!(field("no such thing"), "no such thing");
    }

    #[test]
    fn the_first_part_of_cri_that_fails_is_the_cause() {
        let log = "msg=\"failed to load plugin\" error=\"first\" id=io.containerd.cri.v1.images\n\
                   msg=\"failed to load plugin\" error=\"second\" id=io.containerd.grpc.v1.cri\n";
        assert_eq!(cri_error(log).as_deref(), Some("first"));
        assert_eq!(
            cri_error("msg=\"failed to load plugin\" error=x id=io.containerd.snapshotter.v1.zfs\n"),
            None
        );
    }

    #[test]
    fn last_words_are_its_own() {
        assert_eq!(last_words("a\ncontainerd: no\nb\n").as_deref(), Some("no"));
        assert_eq!(last_words("a\nlevel=fatal error=\"why\"\n\n").as_deref(), Some("why"));
        assert_eq!(last_words("\n"), None);
    }
}
