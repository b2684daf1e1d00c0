//! The exit codes. Manifests, units and runbooks quote this table.

use mirrorshift_node::NodeErrorKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Something that nobody foresaw; run the command again.
    Unexpected = 1,
    /// The command line, the policy or an image name is wrong.
    Usage = 2,
    /// Refused, and every file is as it was.
    Refused = 3,
    /// Begun, failed and undone: every file is as it was.
    Undone = 4,
    /// The undo failed: a person is needed.
    Stuck = 5,
    /// Another writer holds the lock.
    Locked = 6,
    /// With `--exit-code`: `plan` found changes, or `check` found what refuses or breaks.
    Found = 7,
}

impl Exit {
    /// The table, for `--help` and the manual page.
    pub(crate) const HELP: &'static str = "\
Exit codes:
  0  done, or nothing to do
  1  unexpected
  2  usage: the command line, the policy or the image name is wrong
  3  refused, and nothing was touched
  4  undone: begun, failed, and every file is as it was
  5  the undo failed, and a person is needed
  6  another writer holds the lock
  7  with --exit-code: `plan` found changes, `check` found what refuses or breaks";

    /// The number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.code().serialize(out)
    }
}

impl<'de> Deserialize<'de> for Exit {
    /// A code that a newer version may know is something that nobody foresaw.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let known = [
            Self::Done,
            Self::Usage,
            Self::Refused,
            Self::Undone,
            Self::Stuck,
            Self::Locked,
            Self::Found,
        ];
        let code = u8::deserialize(from)?;
        Ok(known
            .into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Unexpected))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<NodeErrorKind> for Exit {
    fn from(kind: NodeErrorKind) -> Self {
        match kind {
            NodeErrorKind::Unfinished => Self::Unexpected,
            NodeErrorKind::Refused => Self::Refused,
            NodeErrorKind::Undone => Self::Undone,
            NodeErrorKind::Stuck => Self::Stuck,
            NodeErrorKind::Locked => Self::Locked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_help_names_every_code() {
        for code in 0..=Exit::Found.code() {
            assert!(Exit::HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
