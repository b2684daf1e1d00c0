//! The test's connection to a holder: the process that keeps the namespaces of a node or a cluster.

use std::io::{
    BufRead, BufReader, Write, {self},
};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::lab::inside::hold::Order;

/// The process whose mount and network namespaces a node or a cluster uses. It ends when this is dropped, and the
/// namespaces with it.
#[derive(Debug)]
pub(in crate::lab) struct Holder {
    child: Child,
    /// The holder runs while this pipe is open.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    /// Starts a holder of this kind, and returns when it has created the namespaces.
    pub(in crate::lab) fn start(helper: &Path, kind: &str, ground: &impl Serialize) -> io::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "--"])
            .arg(helper)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A separate process group, so that an interrupt at the terminal does not stop the clean-up.
            .process_group(0)
            .spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the holder has no pipes"));
        };
        let mut holder = Self {
            child,
            orders: Some(orders),
            answers: BufReader::new(answers),
        };
        holder.send_order::<IgnoredAny>(ground)?;
        Ok(holder)
    }

    /// The holder's process id. `unshare` executes the holder, so both have the same.
    pub(in crate::lab) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends an order and returns the answer.
    pub(in crate::lab) fn send_order<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> io::Result<T> {
        let line = serde_json::to_string(order)?;
        let mut answer = String::new();
        let sent = match &mut self.orders {
            Some(orders) => writeln!(orders, "{line}"),
            None => Ok(()),
        };
        if sent.is_ok() && self.answers.read_line(&mut answer)? > 0 {
            return Ok(serde_json::from_str(&answer)?);
        }
        let mut why = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            io::Read::read_to_string(&mut stderr, &mut why)?;
        }
        Err(io::Error::other(format!("the holder has ended: {}", why.trim())))
    }

    /// Closes the pipe as a killed test does, and waits until the holder has cleaned up.
    pub(in crate::lab) fn leave(mut self) {
        self.orders = None;
    }

    /// Kills the holder, so that it cannot clean up.
    pub(in crate::lab) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(mut orders) = self.orders.take()
            && let Ok(end) = serde_json::to_string(&Order::End)
        {
            // A holder that has ended needs no order.
            drop(writeln!(orders, "{end}"));
        }
        drop(self.child.wait());
    }
}
