//! QEMU's own protocol: commands and answers in JSON, with events between them.

use std::io::{
    BufRead, BufReader, Write, {self},
};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take. Nothing that is asked takes time, on processors that nobody uses first.
const ANSWER: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub(super) fn open(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self(BufReader::new(stream));
        monitor.message()?;
        monitor.ask("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Asks and waits for what comes back.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let question = json!({"execute": command, "arguments": arguments});
        // In one call: QEMU does what it is asked at the closing brace, and one that quits reads no more.
        self.0.get_mut().write_all(format!("{question}\n").as_bytes())?;
        loop {
            let mut message = self.message()?;
            if let Some(error) = message.get("error") {
                return Err(io::Error::other(format!("QEMU: {command}: {error}")));
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    fn message(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "QEMU is gone"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}
