//! What is said to whoever is at the machine.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::Write;

/// Writes a line to the console. A machine without one, or one that takes nothing more, says nothing: it must hold nobody up.
pub(crate) fn write(line: &str) {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(console) = open("/dev/console", flags, Mode::empty()) {
        // A terminal wants both; and in one write, so that nobody else's line comes between.
        File::from(console).write_all(format!("\r\n{line}\r\n").as_bytes()).ok();
    }
}
