//! Messages on the machine's console.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::Write;

/// Writes a line to the console. Failures are ignored, and the open does not block: a machine without a console, or
/// with a full one, must not delay an undo.
pub(crate) fn write(line: &str) {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(console) = open("/dev/console", flags, Mode::empty()) {
        // A terminal needs both characters. The line is written at once, so that no other program's output gets into
        // it.
        File::from(console).write_all(format!("\r\n{line}\r\n").as_bytes()).ok();
    }
}
