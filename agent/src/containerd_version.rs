//! Determines the version of a node's containerd.

use crate::error::CommandError;
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Rule, Version};
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

/// Returns the version that the operator gave, or else the version that the running machine's containerd prints.
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
    text.parse().map_err(|error| {
        let error = CommandError::usage("containerd-version", format!("{flag}: {error}"));
        match releases_of_line(text) {
            Some(releases) if releases.len() > 1 => {
                let differing: Vec<String> = releases.iter().map(|release| format!("`{release}`")).collect();
                error.hint(format!(
                    "name the patch release, because the releases of this line differ from {} on",
                    differing.join(" and from ")
                ))
            }
            Some(_) => error.hint(format!("name the patch release, such as `{text}.0`")),
            None => error,
        }
    })
}

/// Parses a release (`2.2.2`), or a line of releases (`2.2`), of which it returns every release that begins to differ from
/// the release before.
pub(crate) fn parse_release_or_line(text: &str, flag: &str) -> Result<Vec<Version>, CommandError> {
    match text.parse() {
        Ok(release) => Ok(vec![release]),
        Err(_) if is_line(text) => {
            releases_of_line(text).map_or_else(|| parse(&format!("{text}.0"), flag).map(|release| vec![release]), Ok)
        }
        Err(_) => parse(text, flag)
            .map(|release| vec![release])
            .map_err(|error| error.hint("name a release such as `2.2.2`, or a line such as `2.2`")),
    }
}

/// True for `2.2`.
fn is_line(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.len() < 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('v').unwrap_or(text);
    text.split_once('.')
        .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

/// Returns the releases of a line at which a rule begins or ends to hold; `None` for a line that is not supported.
fn releases_of_line(line: &str) -> Option<Vec<Version>> {
    /// No line of containerd has had this many patch releases.
    const PATCHES: u16 = 60;
    if !is_line(line) {
        return None;
    }
    let mut releases: Vec<Version> = Vec::new();
    for patch in 0..PATCHES {
        let Ok(release) = format!("{line}.{patch}").parse::<Version>() else {
            continue;
        };
        let has_same_rules = |other: &Version| Rule::ALL.iter().all(|rule| other.has(*rule) == release.has(*rule));
        if !releases.last().is_some_and(has_same_rules) {
            releases.push(release);
        }
    }
    (!releases.is_empty()).then_some(releases)
}

/// The first and the newest line of releases whose rules were checked.
pub(crate) const SUPPORTED: (&str, &str) = ("1.6.0", "2.4");

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_every_release_that_differs() {
        let releases = |line: &str| {
            parse_release_or_line(line, "--target")
                .map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(releases("2.2").unwrap(), ["2.2.0", "2.2.2"]);
        assert_eq!(releases("2.2.1").unwrap(), ["2.2.1"]);
        assert_eq!(releases("v2.4").unwrap(), ["v2.4.0"]);
        for wrong in ["2", "x", "2.2.x", "1.5", ""] {
            assert!(releases(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn supported_releases_are_those_of_the_rules() {
        let (oldest, newest) = SUPPORTED;
        let (major, minor) = newest.split_once('.').unwrap();
        let next = minor.parse::<u16>().unwrap() + 1;
        assert!(oldest.parse::<Version>().is_ok() && "1.5.99".parse::<Version>().is_err());
        assert!(!format!("{newest}.0").parse::<Version>().unwrap().is_newer_than_known());
        assert!(
            format!("{major}.{next}.0")
                .parse::<Version>()
                .unwrap()
                .is_newer_than_known()
        );
    }
}
