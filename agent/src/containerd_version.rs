//! Asks a node's own containerd for its version.

use crate::cli::CommonArgs;
use crate::error::CommandError;
use mirrorshift_containerd::Version;
use mirrorshift_containerd::redact;
use std::io::{
    Read, {self},
};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// It answers in milliseconds; a machine under load gets this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any version line has: bytes.
const ANSWER: u64 = 4 << 10;
/// Looked for by name first. Under `sudo` the folder of containerd's own packages is often missing from `PATH`.
const PROGRAMS: [&str; 3] = ["containerd", "/usr/local/bin/containerd", "/usr/bin/containerd"];

/// The version that the command line names, else what the running machine's containerd prints.
pub(crate) fn of(common: &CommonArgs, live: bool) -> Result<Version, CommandError> {
    match &common.containerd_version {
        Some(text) => parse(text, "--containerd-version"),
        None if live => ask(),
        None => Err(CommandError::usage(
            "containerd-version",
            "--containerd-version is needed with a root other than `/`: what lies in a folder cannot be asked",
        )
        .hint(format!(
            "`chroot {} containerd --version` tells it, and so does the image's list of packages",
            common.root.display()
        ))),
    }
}

/// A version that somebody typed.
pub(crate) fn parse(text: &str, flag: &str) -> Result<Version, CommandError> {
    text.parse()
        .map_err(|error| CommandError::usage("containerd-version", format!("{flag}: {error}")))
}

fn ask() -> Result<Version, CommandError> {
    let name_it = "name the version with --containerd-version";
    let unknown = |why: String| CommandError::usage("containerd-version", why).hint(name_it);
    for program in PROGRAMS {
        match answer(program) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unknown(format!("`{program} --version` failed: {error}"))),
            Ok(text) => {
                return text.parse().map_err(|error| {
                    unknown(format!(
                        "`{program} --version`: {}",
                        redact::free_text(&format!("{error}"))
                    ))
                });
            }
        }
    }
    Err(unknown(
        "no containerd was found that could be asked for its version".to_owned(),
    ))
}

/// What `program --version` prints, within bounds of time and length.
fn answer(program: &str) -> io::Result<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.map_or(Ok(0), |out| out.take(ANSWER).read_to_string(&mut text));
        // The other end is gone when its patience was.
        tell.send(read.map(|_| text)).ok();
    });
    let answer = told
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
    // It has said what it had to say, or will not; either way it is not left behind.
    child.kill().ok();
    child.wait()?;
    answer
}
