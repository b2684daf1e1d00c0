//! Every port at which a containerd with these files may ask somebody: by the plan, and, as the plan may be wrong, every
//! number behind a colon in any file.

use mirrorshift_containerd::{Entry, Tree};
use mirrorshift_plan::Plan;
use mirrorshift_plan::rehearsal::{Probe, asked};

/// Two sockets each are open at the same time, and a service may have 1024 by default.
const MOST: usize = 400;

/// Those of the plan first; at most 400 in all.
pub(super) fn ports<'t>(plan: &Plan, probes: &[Probe], trees: impl IntoIterator<Item = &'t Tree>) -> Vec<u16> {
    let mut ports = vec![80, 443];
    for change in &plan.routes {
        for probe in probes.iter().filter(|probe| probe.registry == change.registry) {
            for route in [&change.before, &change.after] {
                ports.extend(asked(route, probe.named).into_iter().map(|asked| asked.port));
            }
        }
    }
    ports.extend(probes.iter().flat_map(|probe| written(probe.image.as_bytes())));
    for tree in trees {
        for (path, entry) in tree.iter() {
            match entry {
                Entry::File(bytes) => ports.extend(written(bytes)),
                // A folder of certs.d has its port as `host_5000_`.
                Entry::Folder(_) => ports.extend(written(path.replace('_', ":").as_bytes())),
                _ => {}
            }
        }
    }
    let mut once = Vec::new();
    for port in ports {
        if port != 0 && !once.contains(&port) && once.len() < MOST {
            once.push(port);
        }
    }
    once
}

/// Numbers behind a colon that may be a port.
fn written(bytes: &[u8]) -> Vec<u16> {
    let number = |rest: &[u8]| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    };
    bytes.split(|byte| *byte == b':').skip(1).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_urls_names_and_folders() {
        assert_eq!(
            written(b"http://a:5000/v2 [fd00::1]:8443 12:99999 x: :"),
            [5000, 1, 8443]
        );
        assert_eq!(written(b"none"), [0_u16; 0]);
    }
}
