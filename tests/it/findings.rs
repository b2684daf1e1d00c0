//! The findings of 168 real files on six releases. The test needs the corpus next to the project.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program fails by panicking, and its output is its report"
)]

use mirrorshift_containerd::findings::{ReleaseView, upgrade};
use mirrorshift_containerd::{
    Config, DEFAULT_CONFIG, Entry, Finding, FindingId, LoadError, Severity, Tree, Version, findings, read,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    mirrorshift_tests::with_corpus(&[
        (
            "findings::findings_of_every_file_are_ordered_on_every_release",
            findings_of_every_file_are_ordered_on_every_release,
        ),
        (
            "findings::files_that_containerd_rejects_have_syntax_findings",
            files_that_containerd_rejects_have_syntax_findings,
        ),
        (
            "findings::files_with_misplaced_settings_have_findings",
            files_with_misplaced_settings_have_findings,
        ),
        (
            "findings::files_without_faults_have_no_findings",
            files_without_faults_have_no_findings,
        ),
    ])
}

const VERSIONS: [&str; 6] = ["1.6.20", "1.7.24", "2.1.9", "2.2.1", "2.3.4", "2.4.2"];

/// Returns every configuration, by its number.
fn files(corpus: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml"))
        .map(|name| (name[..3].to_owned(), std::fs::read(corpus.join(&name)).unwrap()))
        .collect()
}

fn reading(version: &Version, tree: &mut Tree) -> Result<Config, Box<LoadError>> {
    loop {
        let reading = read(version, DEFAULT_CONFIG, tree);
        if reading.missing.is_empty() {
            return reading.outcome;
        }
        reading
            .missing
            .into_iter()
            .for_each(|path| tree.insert(path, Entry::Absent));
    }
}

fn tree(bytes: &[u8]) -> Tree {
    let mut tree = Tree::new();
    tree.insert(DEFAULT_CONFIG, Entry::File(bytes.to_vec()));
    tree
}

fn found(version: &str, bytes: &[u8]) -> Vec<Finding> {
    let version = version.parse().unwrap();
    let mut tree = tree(bytes);
    let reading = reading(&version, &mut tree);
    findings(&reading, &tree, &version)
}

fn findings_of_every_file_are_ordered_on_every_release(corpus: &Path) {
    let files = files(corpus);
    assert_eq!(files.len(), 168);
    let mut counts: BTreeMap<FindingId, [usize; VERSIONS.len()]> = BTreeMap::new();
    for (name, bytes) in &files {
        for (column, version) in VERSIONS.into_iter().enumerate() {
            let findings = found(version, bytes);
            assert_eq!(findings, found(version, bytes), "{name} {version}");
            assert!(
                findings.is_sorted_by_key(|finding| (finding.severity, finding.place.clone())),
                "{name} {version}"
            );
            for finding in findings {
                counts.entry(finding.id).or_default()[column] += 1;
                assert!(finding.severity <= Severity::Advice && !finding.remedy.is_empty());
            }
        }
        for pair in VERSIONS.windows(2) {
            let (now, then) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
            let mut tree = tree(bytes);
            let (before, after) = (reading(&now, &mut tree), reading(&then, &mut tree));
            let view = |reading, version| ReleaseView { reading, version };
            for finding in upgrade(view(&before, &now), view(&after, &then), &tree) {
                assert!(finding.id.as_str().starts_with("upgrade-"), "{name}: {finding:?}");
            }
        }
    }
    // Measured with real binaries: 46 of 49 working files lose CRI on 2.2.0 and 2.2.1, and 13 have no version.
    assert_eq!(counts[&FindingId::BothByDefault], [0, 0, 0, 46, 0, 0]);
    assert_eq!(counts[&FindingId::NoVersionKey], [13, 13, 0, 0, 0, 0]);
    println!("{:28} {VERSIONS:?}", "finding");
    for (id, counts) in counts {
        println!("{:28} {counts:?}", id.as_str());
    }
}

/// Returns the names of the findings of a file, without deprecations, which nearly every file has.
fn ids(files: &BTreeMap<String, Vec<u8>>, name: &str, version: &str) -> Vec<&'static str> {
    let findings = found(version, &files[name]);
    let specific = findings.iter().filter(|finding| {
        let common = [
            FindingId::MirrorsDeprecated,
            FindingId::ConfigsDeprecated,
            FindingId::AuthsDeprecated,
            FindingId::BothByDefault,
        ];
        !common.contains(&finding.id)
    });
    specific.map(|finding| finding.id.as_str()).collect()
}

fn files_that_containerd_rejects_have_syntax_findings(corpus: &Path) {
    let files = files(corpus);
    for version in VERSIONS {
        for (name, id) in [
            ("117", "toml-dialect"),
            ("155", "toml-dialect"),
            ("113", "toml-syntax"),
            ("167", "toml-syntax"),
            ("151", "wrong-type"),
        ] {
            assert_eq!(ids(&files, name, version), [id], "{name} {version}");
        }
    }
    let two_headers = |version| found(version, &files["117"]).remove(0);
    assert_eq!(two_headers("1.7.24").severity, Severity::Deprecated);
    assert_eq!(two_headers("2.1.9").severity, Severity::Refuses);
    assert!(
        two_headers("2.1.9").remedy.contains("new line after"),
        "{:?}",
        two_headers("2.1.9")
    );
    let twice = found("1.7.24", &files["167"]).remove(0);
    assert_eq!(twice.place.unwrap().line, Some(10));
    assert!(twice.what.contains("duplicate key"), "{}", twice.what);
}

fn files_with_misplaced_settings_have_findings(corpus: &Path) {
    let files = files(corpus);
    // A mirror as an array in a file without a version: every release before 2.3 ignores it, and 2.3 rejects it.
    assert_eq!(ids(&files, "143", "1.7.24"), ["inactive-registry-table"]);
    assert_eq!(ids(&files, "143", "2.1.9"), ["inactive-registry-table"]);
    assert_eq!(ids(&files, "143", "2.3.4"), ["wrong-type"]);
    // A misspelt `plugins`: a corrected name would stop CRI.
    for version in VERSIONS {
        let findings = found(version, &files["147"]);
        let typo = findings
            .iter()
            .find(|finding| finding.id == FindingId::MisspeltTable)
            .unwrap();
        assert_eq!(typo.place.as_ref().unwrap().line, Some(21), "{version}");
        assert!(typo.remedy.contains("would stop the CRI plugin"), "{typo:?}");
        assert!(typo.effect.contains("No release"), "{typo:?}");
    }
    // Keys of other tables after a mirror's header.
    assert_eq!(ids(&files, "141", "1.7.24"), ["inactive-registry-table"]);
    let misplaced = ids(&files, "141", "2.3.4");
    assert!(
        misplaced.contains(&"misplaced-key") && misplaced.contains(&"endpoint-path-without-v2"),
        "{misplaced:?}"
    );
    for version in VERSIONS {
        let ids = ids(&files, "164", version);
        assert_eq!(ids, ["misplaced-key", "endpoint-hides-upstream"], "{version}");
    }
    // Both settings.
    for version in VERSIONS {
        assert_eq!(ids(&files, "168", version)[0], "both-set", "{version}");
    }
}

fn files_without_faults_have_no_findings(corpus: &Path) {
    let files = files(corpus);
    for version in VERSIONS {
        for name in ["025", "132"] {
            assert!(ids(&files, name, version).is_empty(), "{name} {version}");
        }
        // The tables of another program's plugin are not misspelt CRI tables.
        for name in ["012", "046", "102", "103"] {
            let ids = ids(&files, name, version);
            assert!(!ids.contains(&"misspelt-table"), "{name} {version}: {ids:?}");
        }
    }
}
