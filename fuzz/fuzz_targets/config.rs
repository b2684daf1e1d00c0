//! Reads a configuration with a drop-in and a hosts.toml, searches it for findings, and makes two plans for it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::{Cri, findings, read, toml};
use mirrorshift_fuzz::{CONFIG, Files, settles, version};
use mirrorshift_plan::policy::Policy;

const PATHS: &[&str] = &[
    CONFIG,
    "/etc/containerd/conf.d/a.toml",
    "/etc/containerd/certs.d/docker.io/hosts.toml",
];

fuzz_target!(|data: &[u8]| {
    let Some((version, rest)) = version(data) else { return };
    let files = Files::split(rest, PATHS);
    for bytes in files.0.values() {
        for is_v1 in [true, false] {
            if let Ok(parsed) = toml::parse(bytes, is_v1) {
                assert_eq!(parsed.text.as_bytes(), bytes.as_slice());
            }
        }
    }
    let tree = files.tree(&version);
    let reading = read(&version, CONFIG, &tree).outcome;
    for finding in findings(&reading, &tree, &version) {
        if let Some(place) = finding.place {
            let lines = tree
                .file(&place.path)
                .map_or(0, |bytes| bytes.split(|byte| *byte == b'\n').count());
            assert!(place.line <= Some(lines.max(1)), "no such line: {place:?}");
        }
    }
    let Some((plan, after)) = settles(&version, &files, &Policy::default()) else {
        return;
    };
    let healthy = reading.is_ok_and(|config| matches!(config.cri, Cri::Loads));
    assert!(
        !healthy || plan.routes.iter().all(|change| !change.differs()),
        "{plan:?}"
    );
    for (path, new) in &after.0 {
        let Some(old) = files.0.get(path) else { continue };
        let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
        for line in new.lines().filter(|line| !old.lines().any(|other| other == *line)) {
            let ours = line.contains("config_path") || line.contains("registry") || line.trim_start().starts_with('#');
            // A file without a final newline gets a newline before the added lines.
            assert!(
                ours || line.trim().is_empty(),
                "a line appeared: {line:?}\n{old}\n---\n{new}"
            );
        }
    }
});
