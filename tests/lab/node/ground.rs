//! The test's end of a holder: the program in the namespaces that a node or a cluster stands in.

use std::io::{
    BufRead, BufReader, Write, {self},
};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::lab::inside::hold::Order;

/// The process whose mount and network namespaces a node or a cluster is in. It ends when this is dropped, and they with it.
#[derive(Debug)]
pub(in crate::lab) struct Holder {
    child: Child,
    /// Open as long as the holder is to stay.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    /// Makes the ground, by the word for its kind; it is there when this returns.
    pub(in crate::lab) fn start(helper: &Path, kind: &str, ground: &impl Serialize) -> io::Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "--"])
            .arg(helper)
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Whoever interrupts the test at a terminal does not interrupt its cleaning up.
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
        holder.tell::<IgnoredAny>(ground)?;
        Ok(holder)
    }

    /// `unshare` becomes the holder, so this is its number too.
    pub(in crate::lab) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One order, and the answer to it.
    pub(in crate::lab) fn tell<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> io::Result<T> {
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

    /// Lets go of the holder as the death of a test would, and waits until it has cleaned up.
    pub(in crate::lab) fn leave(mut self) {
        self.orders = None;
    }

    /// Ends the holder by force, so that it cannot clean up.
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
            // One that is gone needs no telling.
            drop(writeln!(orders, "{end}"));
        }
        drop(self.child.wait());
    }
}
