//! Runs `systemctl` for a node whose system D-Bus is not available: `systemctl` also reaches systemd over its private
//! socket.

use std::io;
use std::process::{Command, Output};

/// The properties of a unit that `systemctl show` prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnitProperties {
    pub(crate) active_state: String,
    pub(crate) invocation_id: Option<String>,
}

/// Runs `systemctl` with these arguments. It needs no deadline here, because `systemctl` limits each of its calls.
///
/// # Errors
/// If the program cannot be run. A command that fails is not an error; see the status of the output.
pub(crate) fn run(arguments: &[&str]) -> io::Result<Output> {
    Command::new("systemctl").args(arguments).output()
}

/// Reads the properties of a unit; `None` if systemd does not answer.
pub(crate) fn show(unit: &str) -> Option<UnitProperties> {
    let output = run(&["show", "--property=ActiveState,InvocationID", unit]).ok()?;
    parse_properties(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
}

fn parse_properties(text: &str) -> Option<UnitProperties> {
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
    fn parse_properties_reads_the_output_of_show() {
        let parsed = |text: &str| parse_properties(text).map(|unit| (unit.active_state, unit.invocation_id));
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            parsed(&format!("InvocationID={id}\nActiveState=active\n")),
            Some(("active".to_owned(), Some(id.to_owned())))
        );
        // This unit never ran.
        assert_eq!(
            parsed("ActiveState=inactive\nInvocationID=\n"),
            Some(("inactive".to_owned(), None))
        );
        assert_eq!(parsed(""), None);
    }
}
