//! Determines the version of a node's containerd.

use crate::error::CommandError;
use mirrorshift_containerd::Version;
use mirrorshift_containerd::redact;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// containerd prints its version in milliseconds. A machine under load gets this long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More bytes than any version line has.
const OUTPUT_LIMIT: u64 = 4 << 10;
/// The name comes first. Under `sudo` the directory of containerd's own packages is often missing from `PATH`.
const PROGRAMS: [&str; 3] = ["containerd", "/usr/local/bin/containerd", "/usr/bin/containerd"];

/// Returns the version that the operator gave, or else the one that the running machine's containerd prints.
pub(crate) fn resolve(given: Option<&str>, root: &Path, is_live: bool) -> Result<Version, CommandError> {
    match given {
        Some(text) => parse(text, "--containerd-version"),
        None if is_live => run_containerd(),
        None => Err(CommandError::usage(
            "containerd-version",
            "--containerd-version is required with --root: mirrorshift does not run programs from that directory",
        )
        .hint(format!(
            "read the version from the image's package list, or run `chroot {} containerd --version` if the directory is a \
             whole file system",
            root.display()
        ))),
    }
}

/// Parses the value of a flag.
pub(crate) fn parse(text: &str, flag: &str) -> Result<Version, CommandError> {
    text.parse()
        .map_err(|error| CommandError::usage("containerd-version", format!("{flag}: {error}")))
}

fn run_containerd() -> Result<Version, CommandError> {
    let advice = "pass the version with --containerd-version";
    let unknown = |why: String| CommandError::usage("containerd-version", why).hint(advice);
    for program in PROGRAMS {
        match print_version(program) {
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
        "cannot determine the version: no containerd program was found".to_owned(),
    ))
}

/// Runs `program --version`, within bounds of time and length.
fn print_version(program: &str) -> io::Result<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.map_or(Ok(0), |out| out.take(OUTPUT_LIMIT).read_to_string(&mut text));
        // The receiver is gone after a timeout.
        sender.send(read.map(|_| text)).ok();
    });
    let output = receiver
        .recv_timeout(TIMEOUT)
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it did not finish in time")));
    // The program may still run after a timeout.
    child.kill().ok();
    child.wait()?;
    output
}
