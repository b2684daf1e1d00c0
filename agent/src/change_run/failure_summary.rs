//! The failure of a run or of an observation as data, so that the agent does not parse printed text.

use crate::error::{CommandError, Location};
use crate::exit::Exit;
use mirrorshift_containerd::redact::free_text;
use serde::{Deserialize, Serialize};

/// A failure without secrets and without layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailureSummary {
    /// The exit code of a command that fails like this.
    pub(crate) exit: Exit,
    /// A stable name: `error.reason` in JSON documents.
    pub(crate) reason: String,
    /// One line of text. It begins with the file and the line where they are known.
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl From<&CommandError> for FailureSummary {
    fn from(error: &CommandError) -> Self {
        let location = error.place.as_deref().map(|Location { file, line, .. }| match line {
            Some(line) => format!("{file}:{line}: "),
            None => format!("{file}: "),
        });
        // Events, conditions and annotations are one line each.
        let message = error.message.lines().collect::<Vec<_>>().join("; ");
        Self {
            exit: error.exit,
            reason: error.reason.to_owned(),
            message: free_text(&format!("{}{message}", location.unwrap_or_default())),
            hint: error.hint.as_deref().map(free_text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_an_error_is_one_line_with_its_location() {
        let error = CommandError {
            place: Some(Box::new(Location {
                file: "/etc/containerd/config.toml".to_owned(),
                line: Some(7),
                column: Some(3),
                excerpt: None,
            })),
            ..CommandError::new(Exit::Refused, "rehearsal", "a.example differs\nb.example differs")
                .hint("read the plan")
        };
        let summary = FailureSummary::from(&error);
        assert_eq!((summary.exit, summary.reason.as_str()), (Exit::Refused, "rehearsal"));
        assert_eq!(
            summary.message,
            "/etc/containerd/config.toml:7: a.example differs; b.example differs"
        );
        assert_eq!(summary.hint.as_deref(), Some("read the plan"));
    }

    #[test]
    fn summary_masks_passwords() {
        let error = CommandError::new(Exit::Refused, "io", "cannot reach https://user:hunter2@mirror.example/");
        assert!(!FailureSummary::from(&error).message.contains("hunter2"));
    }
}
