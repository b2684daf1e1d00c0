//! One file to put in place, with everything that the executor needs, so that it never decides.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest, printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "a digest is 64 hexadecimal digits";
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// The file that must be at a step's path before the step is carried out. Any other file belongs to another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No file.
    Absent,
    /// A regular file with this digest.
    File(Digest),
}

/// One file of a change. Steps are carried out in their order; each is one atomic replacement.
#[derive(Clone, PartialEq, Eq)]
pub struct Step {
    /// The absolute path on the node, without the root of an offline image.
    pub path: String,
    /// The file that must be there before.
    pub expect: Expect,
    /// The new contents, or `None` to remove a file that the journal records as ours.
    pub content: Option<Vec<u8>>,
    /// The reason, as a short fragment for the reader of the plan.
    pub why: String,
}

impl fmt::Debug for Step {
    /// Never prints the contents, because they may contain passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            expect,
            content,
            why,
        } = self;
        f.debug_struct("Step")
            .field("path", path)
            .field("expect", expect)
            .field("content", &content.as_deref().map(Digest::of))
            .field("why", why)
            .finish()
    }
}
