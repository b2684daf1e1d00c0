//! Words that text and JSON share: the name of a registry, a host, a request, a phase, a note.

use mirrorshift_containerd::{Image, Origin, RegistryHost, redact};
use mirrorshift_node::Drift;
use mirrorshift_plan::change::Phase;
use mirrorshift_plan::{Note, RegistryScope};

/// The host that the planner uses to look up any other registry. `.invalid` never resolves.
const UNNAMED: &str = "unnamed.invalid";

/// Returns the text without characters that a terminal would interpret.
pub(crate) fn escape_control_chars(text: &str) -> String {
    let escape = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(escape).collect()
}

/// Writes `<registry>` for the host of any other registry.
pub(crate) fn name_unnamed_host(text: &str) -> String {
    text.replace(UNNAMED, "<registry>")
}

/// Returns a host as a URL, without the path `/v2`, which is the default, and with a `/` in place of no path.
pub(crate) fn host_url(host: &RegistryHost) -> String {
    let url = match host.path.as_str() {
        "" => format!("{}/", host.url()),
        _ => host.url(),
    };
    let url = url.strip_suffix("/v2").filter(|_| host.path == "/v2").unwrap_or(&url);
    escape_control_chars(&redact::free_text(&name_unnamed_host(url)))
}

/// Returns the registry as JSON names it: `*` stands for any other registry.
pub(crate) fn registry_key(scope: &RegistryScope) -> String {
    registry_name(scope).unwrap_or_else(|| "*".to_owned())
}

/// Returns the name of the registry, or `None` for any other registry.
pub(crate) fn registry_name(scope: &RegistryScope) -> Option<String> {
    match scope {
        RegistryScope::Registry(name) => Some(redact::free_text(name)),
        RegistryScope::Unnamed => None,
    }
}

/// Returns the first request that the host gets for the image, or nothing when it gets none before a tag is resolved.
pub(crate) fn first_request(host: &RegistryHost, image: &Image) -> Option<String> {
    let (reference, is_sent) = match (&image.digest, &image.tag) {
        (Some(digest), _) => (digest, host.pulls || host.resolves),
        (None, Some(tag)) => (tag, host.resolves),
        (None, None) => return None,
    };
    let query = host
        .namespace
        .as_ref()
        .map(|namespace| format!("?ns={namespace}"))
        .unwrap_or_default();
    let url = format!("{}/{}/manifests/{reference}{query}", host.url(), image.repository);
    is_sent.then(|| format!("HEAD {}", escape_control_chars(&redact::free_text(&url))))
}

/// Returns the rule that added the host, in words.
pub(crate) fn origin_text(host: &RegistryHost, registry: &str) -> String {
    match host.provenance.rule {
        Origin::Mirror => format!("mirrors.\"{registry}\""),
        Origin::Wildcard => "mirrors.\"*\"".to_owned(),
        Origin::HostsToml => format!("the hosts.toml of {registry}"),
        Origin::DefaultDirectory => "the hosts.toml of _default".to_owned(),
        Origin::Upstream => "containerd itself: it is the registry of the image".to_owned(),
    }
}

/// Returns the name of a phase. JSON has a hyphen in place of the blank.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Armed => "armed",
        Phase::Applying => "applying",
        Phase::Applied => "applied",
        Phase::Restarting => "restarting",
        Phase::Verifying => "verifying",
        Phase::Settled => "settled",
        Phase::RollbackStaging => "recalled",
        Phase::Undoing => "undoing",
        Phase::Restoring => "restoring",
        Phase::Undone => "undone",
        Phase::RolledBack => "rolled back",
        Phase::Stuck => "stuck",
    }
}

/// Returns a note as sentences.
pub(crate) fn note_text(note: &Note) -> String {
    match note {
        Note::RepairsCri(why) => format!(
            "CRI does not load with the current files ({}). The plan repairs it.",
            escape_control_chars(why)
        ),
        Note::LeavesCertsD { stale } => format!(
            "The plan does not use /etc/containerd/certs.d: `{stale}` is inactive today and would take effect. The plan \
             uses a separate directory."
        ),
        Note::TransferService => {
            "Pulls move from the CRI plugin to containerd's transfer service, which tries the same hosts in the same order. \
             The transfer service runs image verifiers in /opt/containerd/image-verifier/bin, and does not send \
             `registry.headers` to token servers. `use_local_image_pull = true` keeps pulls in the CRI plugin."
                .to_owned()
        }
        Note::NeverMatched { key, place } => {
            format!(
                "`mirrors.\"{}\"` ({place}) matches no image and is removed.",
                redact::free_text(key)
            )
        }
        Note::NewerThanKnown => {
            "This containerd is newer than every release whose rules were checked. The plan uses the rules of the newest \
             known release."
                .to_owned()
        }
    }
}

/// Returns the stable name of a note.
pub(crate) fn note_id(note: &Note) -> &'static str {
    match note {
        Note::RepairsCri(_) => "repairs-cri",
        Note::LeavesCertsD { .. } => "leaves-certs-d",
        Note::TransferService => "transfer-service",
        Note::NeverMatched { .. } => "never-matched",
        Note::NewerThanKnown => "newer-than-known",
    }
}

/// The stable name of the note of [`images_unknown_text`].
pub(crate) const IMAGES_UNKNOWN: &str = "images-unknown";

/// Returns the note of a plan that could not compare the images on a running node.
pub(crate) fn images_unknown_text(why: &str) -> String {
    format!(
        "The images on this node were not compared, because CRI does not list them: {}. A registry that only an image names \
         is checked as `any other registry`.",
        escape_control_chars(why)
    )
}

/// Returns the time and the user of a modification by another program.
pub(crate) fn modification_text(drift: &Drift) -> String {
    let path = escape_control_chars(&drift.path);
    match drift.now {
        Some((user, time)) => {
            let time = u64::try_from(time).map_or_else(|_| time.to_string(), utc_time);
            format!("{path} was modified at {time} by uid {user}")
        }
        None => format!("{path} does not exist any more"),
    }
}

/// Returns seconds since 1970 as a date and time in UTC. A number that no calendar has is printed as a number.
pub(crate) fn utc_time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::utc_time;

    #[test]
    fn utc_time_is_a_date_or_the_number() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(utc_time(seconds), date);
        }
    }
}
