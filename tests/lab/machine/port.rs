//! The connection to the agent in a machine. A request is a line with a number and a script; the answer is a line
//! with the number, the exit code and both outputs, encoded so that they may contain any byte.

use std::io::{
    ErrorKind, Read, Write, {self},
};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::late;
use crate::tool::Ran;

/// The test's end of the connection.
#[derive(Debug)]
pub(super) struct Port {
    stream: UnixStream,
    asked: u64,
    /// Received data without the end of a line.
    rest: Vec<u8>,
}

impl Port {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            asked: 0,
            rest: Vec::new(),
        }
    }

    /// Sends a script to the agent, and returns the number of its answer.
    pub(super) fn ask(&mut self, script: &str) -> io::Result<u64> {
        self.asked += 1;
        let line = format!("{} {}\n", self.asked, STANDARD.encode(script));
        self.stream.write_all(line.as_bytes())?;
        Ok(self.asked)
    }

    /// Waits for an answer. Answers to earlier requests are discarded, because their callers stopped waiting.
    pub(super) fn answer(&mut self, number: u64, deadline: Instant) -> io::Result<Ran> {
        loop {
            let line = self.line(deadline)?;
            let (answered, ran) =
                parse(&line).ok_or_else(|| io::Error::other(format!("the agent answers `{line}`")))?;
            if answered == number {
                return Ok(ran);
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A time-out of zero would mean no limit.
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::Error::new(ErrorKind::ConnectionReset, "the machine has ended")),
                Ok(read) => self.rest.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(late("the machine does not answer in time"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse(line: &str) -> Option<(u64, Ran)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let code = words.next()?.parse().ok()?;
    let mut text = || {
        let bytes = STANDARD.decode(words.next()?.strip_prefix('.')?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (stdout, stderr) = (text()?, text()?);
    Some((number, Ran { code, stdout, stderr }))
}

/// Returns a script that executes a command.
pub(super) fn script(command: &[&str]) -> String {
    let words = command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    format!("exec {}", words.collect::<Vec<_>>().join(" "))
}
