//! The table of README that answers "must I migrate before an upgrade?" is what `check --target` computes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use mirrorshift_containerd::findings::{ReleaseView, upgrade};
use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Finding, FindingId, Severity, Tree, Version, findings, read};

/// A node with mirrors and with a CA for the mirror's host, without `config_path`.
const CONFIG: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.test"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."mirror.test".tls]
  insecure_skip_verify = true
"#;
/// The release that such nodes run today.
const PRESENT: &str = "1.7.24";
/// The first and the last release of each line, and all of 2.2 around its changes.
const RELEASES: [&str; 12] = [
    "2.0.0", "2.0.14", "2.1.0", "2.1.9", "2.2.0", "2.2.1", "2.2.2", "2.2.9", "2.3.0", "2.3.7", "2.4.0", "2.4.2",
];

/// A row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    releases: String,
    loses_cri: bool,
    tls_ignored: bool,
}

/// The rows under the heading of the question.
fn rows(readme: &str) -> Vec<Row> {
    let section = readme.split("## Must I migrate before an upgrade?").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let table = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("---"));
    table
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            Row {
                releases: cells[0].to_owned(),
                loses_cri: cells[1].contains("loses CRI"),
                tls_ignored: cells[2].contains("is ignored"),
            }
        })
        .collect()
}

/// Returns true if `release` belongs to a cell such as `2.1`, `2.2.0, 2.2.1` or `2.2.2 and newer`.
fn is_in(release: &str, cell: &str) -> bool {
    let number = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    cell.split(", ").any(|part| match part.strip_suffix(" and newer") {
        Some(first) => number(release) >= number(first),
        None => number(release).starts_with(&number(part)),
    })
}

fn found(target: &str) -> Vec<Finding> {
    let mut tree = Tree::new();
    tree.insert(DEFAULT_CONFIG, Entry::File(CONFIG.into()));
    let (present, target) = (PRESENT.parse::<Version>().unwrap(), target.parse::<Version>().unwrap());
    let mut outcome = |version: &Version| {
        loop {
            let reading = read(version, DEFAULT_CONFIG, &tree);
            if reading.missing.is_empty() {
                return reading.outcome;
            }
            for path in reading.missing {
                tree.insert(path, Entry::Absent);
            }
        }
    };
    let (now, then) = (outcome(&present), outcome(&target));
    let mut all = upgrade(
        ReleaseView {
            version: &present,
            reading: &now,
        },
        ReleaseView {
            version: &target,
            reading: &then,
        },
        &tree,
    );
    all.extend(findings(&then, &tree, &target));
    all
}

#[test]
fn upgrade_table_matches_check_target_on_every_release() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let rows = rows(&readme);
    assert!(rows.len() >= 4, "{rows:?}");
    for release in RELEASES {
        let of_release: Vec<&Row> = rows.iter().filter(|row| is_in(release, &row.releases)).collect();
        assert_eq!(of_release.len(), 1, "{release} is in {of_release:?}");
        let found = found(release);
        let breaks = found.iter().any(|finding| finding.severity == Severity::Breaks);
        let ignored = found.iter().any(|finding| finding.id == FindingId::TlsIgnored);
        assert_eq!(of_release[0].loses_cri, breaks, "{release}: {found:?}");
        assert_eq!(of_release[0].tls_ignored, ignored, "{release}: {found:?}");
    }
}
