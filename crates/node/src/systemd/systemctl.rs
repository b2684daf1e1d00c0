//! systemd's own program. It has another way to it than the system bus, and is asked when that is gone.

use crate::error::NodeError;
use std::process::{Command, Output};

/// What is known of a unit without the bus.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitProperties {
    /// As [`Unit::active_state`](crate::systemd::unit::Unit::active_state).
    pub(crate) active_state: String,
    /// As [`Unit::invocation_id`](crate::systemd::unit::Unit::invocation_id).
    pub(crate) invocation_id: Option<String>,
}

/// Runs it with these words. It ends by itself: each call to systemd has a limit there.
pub(crate) fn run(words: &[&str]) -> Result<Output, NodeError> {
    Command::new("systemctl")
        .args(words)
        .output()
        .map_err(|source| NodeError::Io {
            action: "run",
            path: "systemctl".to_owned(),
            source,
        })
}

/// Looks at a unit; nothing when systemd does not answer.
pub(crate) fn show(unit: &str) -> Option<UnitProperties> {
    let output = run(&["show", "--property=ActiveState,InvocationID", unit]).ok()?;
    read(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
}

fn read(text: &str) -> Option<UnitProperties> {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Some(UnitProperties {
        active_state: value("ActiveState")?.to_owned(),
        invocation_id: value("InvocationID").filter(|id| !id.is_empty()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_of_a_unit() {
        let shown = |text: &str| read(text).map(|shown| (shown.active_state, shown.invocation_id));
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            shown(&format!("InvocationID={id}\nActiveState=active\n")),
            Some(("active".to_owned(), Some(id.to_owned())))
        );
        // One that never ran.
        assert_eq!(
            shown("ActiveState=inactive\nInvocationID=\n"),
            Some(("inactive".to_owned(), None))
        );
        assert_eq!(shown(""), None);
    }
}
