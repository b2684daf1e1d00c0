//! The exit codes. Manifests, units, runbooks and `mirrorshift --help` have the same table.

use mirrorshift_node::NodeErrorKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::process::ExitCode;

/// The exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// An unexpected error.
    Unexpected = 1,
    /// A usage error: in the command line, the policy or the name of an image.
    Usage = 2,
    /// The command refused, and nothing was changed.
    Refused = 3,
    /// The change failed and the original files were restored.
    Undone = 4,
    /// The undo failed: an operator must repair the node.
    Stuck = 5,
    /// Another process holds the lock.
    Locked = 6,
    /// `check` found settings that break or are rejected, or `plan --exit-code` found changes.
    Found = 7,
}

impl Exit {
    /// The table in `--help` and in the manual page.
    pub(crate) const HELP: &'static str = "\
Exit codes:
  0  done, or nothing to do
  1  unexpected error
  2  usage error
  3  refused: nothing was changed
  4  undone: the change failed and the original files were restored
  5  the undo failed: an operator must repair the node
  6  another process holds the lock
  7  findings or changes were found (see `check --exit-zero` and `plan --exit-code`)";

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
    /// Reads an unknown code, which a newer version may have written, as [`Exit::Unexpected`].
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
