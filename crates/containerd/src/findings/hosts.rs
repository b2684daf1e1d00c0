//! Faults of hosts.toml files as findings. They are found where those files are read.

use super::Finding;
use super::catalogue::FindingId;
use crate::route::Place;

/// A fault of a hosts.toml as a finding: `name` is the fault's identifier, `found` what is wrong as a fragment, `effect` and
/// `remedy` are sentences. Nothing when no finding has that name.
pub fn hosts_finding(name: &str, place: Place, found: &str, effect: &str, remedy: &str) -> Option<Finding> {
    let id = FindingId::named(name).filter(|id| id.as_str().starts_with("hosts-"))?;
    let what = match found.strip_suffix('.') {
        Some(_) => found.to_owned(),
        None => format!("{found}."),
    };
    Some(Finding {
        id,
        severity: id.severity(),
        place: Some(place),
        what,
        effect: effect.to_owned(),
        remedy: remedy.to_owned(),
    })
}
