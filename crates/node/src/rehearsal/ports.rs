//! The ports at which a containerd with these files may contact a host: those of the plan, and every number after a
//! colon in any file, because the plan may be wrong.

use mirrorshift_containerd::{Entry, Tree};
use mirrorshift_plan::Plan;
use mirrorshift_plan::rehearsal::{Probe, expected_requests};

/// The largest number of ports. Each needs two sockets, and a service may have 1024 open files by default.
const MAX_PORTS: usize = 400;

/// Returns the ports of the plan first, and 400 ports at most.
pub(super) fn ports<'t>(plan: &Plan, probes: &[Probe], trees: impl IntoIterator<Item = &'t Tree>) -> Vec<u16> {
    let mut ports = vec![80, 443];
    for change in &plan.routes {
        for probe in probes.iter().filter(|probe| probe.registry == change.registry) {
            for route in [&change.before, &change.after] {
                ports.extend(
                    expected_requests(route, probe.reference)
                        .into_iter()
                        .map(|request| request.port),
                );
            }
        }
    }
    ports.extend(
        probes
            .iter()
            .flat_map(|probe| numbers_after_colons(probe.image.as_bytes())),
    );
    for tree in trees {
        for (path, entry) in tree.iter() {
            match entry {
                Entry::File(contents) => ports.extend(numbers_after_colons(contents)),
                // The name of a folder in certs.d has its port as `host_5000_`.
                Entry::Folder(_) => ports.extend(numbers_after_colons(path.replace('_', ":").as_bytes())),
                _ => {}
            }
        }
    }
    let mut unique = Vec::new();
    for port in ports {
        if port != 0 && !unique.contains(&port) && unique.len() < MAX_PORTS {
            unique.push(port);
        }
    }
    unique
}

/// Returns the numbers after a colon that can be ports.
fn numbers_after_colons(text: &[u8]) -> Vec<u16> {
    let number = |rest: &[u8]| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    };
    text.split(|byte| *byte == b':').skip(1).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_after_colons_are_found_in_urls_and_names() {
        assert_eq!(
            numbers_after_colons(b"http://a:5000/v2 [fd00::1]:8443 12:99999 x: :"),
            [5000, 1, 8443]
        );
        assert_eq!(numbers_after_colons(b"none"), [0_u16; 0]);
    }
}
