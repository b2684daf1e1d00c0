//! QEMU's monitor protocol: commands and answers in JSON, with events between them.

use std::io::{
    BufRead, BufReader, Write, {self},
};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Time limit for an answer. All commands are fast, except on a busy machine.
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

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let question = json!({"execute": command, "arguments": arguments});
        // In one write: QEMU executes a command at the closing brace, and after `quit` it reads no more.
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
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "QEMU has ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}
