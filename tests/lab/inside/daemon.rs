//! Runs one containerd from start to end.

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

/// Time limit for a containerd to answer or to end. It takes 0.1 s on an idle machine.
pub(super) const START: Duration = Duration::from_secs(20);
/// The pause between two checks of the socket.
const STEP: Duration = Duration::from_millis(5);
/// The number of bytes of the log that are kept.
const LOG: usize = 256 * 1024;

/// A running containerd in its own mount namespace. It is killed when it is dropped.
pub(super) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    /// Ends when all of the log has been read.
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(super) async fn start(plan: &Plan) -> io::Result<Self> {
        // `unshare` executes this program, which executes containerd. All are one process, so its id is containerd's.
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

    /// Waits until CRI answers, or until it is certain that it never will.
    pub(super) async fn wait(&mut self) -> io::Result<(Boot, Option<Cri>)> {
        let deadline = Instant::now() + START;
        let mut last = String::from("no socket");
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                let why = last_words(&self.whole_log().await).unwrap_or_else(|| status.to_string());
                // A failure of the lab must not be reported as containerd's.
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
                    Ok(_) => last = "CRI reports that the runtime is not ready".into(),
                    // containerd serves only after it has loaded all of its plugins, so this answer is final.
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

    /// The path of the socket as seen from here, through the namespace of the process.
    fn socket(&self) -> Option<PathBuf> {
        let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", self.child.id()?));
        socket.exists().then_some(socket)
    }

    /// Returns what containerd has logged until now.
    fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Kills containerd and returns its log. Its state is thrown away, so a clean end is not needed.
    pub(super) async fn stop(mut self) -> io::Result<String> {
        self.child.kill().await?;
        Ok(self.whole_log().await)
    }

    /// Returns the log of a containerd that has ended. Its last lines may still be in the pipe.
    async fn whole_log(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            // The wait is limited, because a program that containerd started may still hold the other end of the
            // pipe.
            let _ = tokio::time::timeout(START, reader).await;
        }
        self.log()
    }
}

/// Returns the reason why the CRI plugin did not load: the last error that names it.
fn cri_error(log: &str) -> Option<String> {
    let complaint = |line: &&str| {
        (line.contains("failed to load plugin") || line.contains("invalid plugin config"))
            && (line.contains("cri") || line.contains("CRI"))
    };
    // containerd 2.x loads CRI in parts. The first part that fails is the cause; the others fail because of it.
    log.lines().find(complaint).map(field)
}

/// Returns the `error` of a log line in logfmt or JSON, depending on containerd's configuration; or the whole line if
/// it has none.
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

/// Returns the reason why containerd ended: the line `containerd: …`, or else the error of the last line.
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
    fn error_is_read_from_logfmt_and_json() {
        assert_eq!(
            field(r#"level=warning msg="failed" error="a \"b\" c" id=x"#),
            "a \"b\" c"
        );
        assert_eq!(field(r#"{"error":"a \"b\" c","id":"x"}"#), "a \"b\" c");
        assert_eq!(field("no such thing"), "no such thing");
    }

    #[test]
    fn first_failed_part_of_cri_is_the_cause() {
        let log = "msg=\"failed to load plugin\" error=\"first\" id=io.containerd.cri.v1.images\n\
                   msg=\"failed to load plugin\" error=\"second\" id=io.containerd.grpc.v1.cri\n";
        assert_eq!(cri_error(log).as_deref(), Some("first"));
        assert_eq!(
            cri_error("msg=\"failed to load plugin\" error=x id=io.containerd.snapshotter.v1.zfs\n"),
            None
        );
    }

    #[test]
    fn fatal_error_is_the_last_logged_reason() {
        assert_eq!(last_words("a\ncontainerd: no\nb\n").as_deref(), Some("no"));
        assert_eq!(last_words("a\nlevel=fatal error=\"why\"\n\n").as_deref(), Some("why"));
        assert_eq!(last_words("\n"), None);
    }
}
