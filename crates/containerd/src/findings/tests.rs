use crate::config::{DEFAULT_CONFIG, read};
use crate::findings::cases::{CASES, NegativeCase, UPGRADES};
use crate::findings::*;
use crate::rules::LINES;
use crate::tree::Entry;
use std::collections::BTreeSet;

const REGISTRY: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    let mut folders: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, text) in files {
        let bare = path.trim_end_matches('/');
        if bare == *path {
            tree.insert(bare, Entry::File(text.replace('§', REGISTRY).into_bytes()));
        } else {
            tree.insert(bare, Entry::Folder(Vec::new()));
        }
        let mut child = bare;
        while let Some((parent, name)) = child.rsplit_once('/') {
            folders.insert((parent.to_owned(), name.to_owned()));
            child = parent;
        }
    }
    let parents: BTreeSet<&String> = folders
        .iter()
        .map(|(parent, _)| parent)
        .filter(|parent| !parent.is_empty())
        .collect();
    for parent in parents {
        let names = folders
            .iter()
            .filter(|(of, _)| of == parent)
            .map(|(_, name)| name.clone())
            .collect();
        tree.insert(parent.clone(), Entry::Folder(names));
    }
    tree
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

fn found_in(version: &str, mut tree: Tree) -> Vec<Finding> {
    let version = version.parse().unwrap();
    let reading = reading(&version, &mut tree);
    findings(&reading, &tree, &version)
}

fn found(version: &str, files: &[(&str, &str)]) -> Vec<Finding> {
    found_in(version, tree(files))
}

fn check_texts(findings: &[Finding]) {
    for finding in findings {
        for text in [&finding.what, &finding.effect, &finding.remedy] {
            assert!(text.ends_with(['.', '`']), "{finding:?}");
            assert!(!text.contains("hunter2"), "{finding:?}");
            assert!(!text.contains('\n') && !text.contains("  "), "{finding:?}");
        }
    }
}

#[test]
fn findings_are_raised_for_positive_cases_only() {
    for case in CASES {
        let mut tree = tree(case.files);
        let mut without = tree.clone();
        if let NegativeCase::Root(folder) = case.off {
            let names: Vec<String> = (0..1_001).map(|number| format!("{number:04}.toml")).collect();
            for name in &names {
                tree.insert(format!("{folder}/{name}"), Entry::File(Vec::new()));
            }
            tree.insert(folder, Entry::Folder(names));
            without.insert(folder, Entry::Folder(Vec::new()));
        }
        let on = found_in(case.on, tree);
        let raised = |findings: &[Finding]| findings.iter().any(|finding| finding.id == case.id);
        assert!(raised(&on), "{} on {}: {on:#?}", case.id, case.on);
        let off = match case.off {
            NegativeCase::Version(version) => found(version, case.files),
            NegativeCase::Files(files) => found(case.on, files),
            NegativeCase::Root(_) => found_in(case.on, without),
        };
        assert!(!raised(&off), "{} where it is not: {off:#?}", case.id);
        check_texts(&on);
        assert!(
            on.is_sorted_by_key(|finding| (finding.severity, finding.place.clone())),
            "{on:#?}"
        );
    }
}

#[test]
fn upgrade_findings_are_raised_for_positive_cases_only() {
    for case in UPGRADES {
        let between = |(now, then): (&str, &str)| {
            let mut tree = tree(case.files);
            let (now, then) = (now.parse().unwrap(), then.parse().unwrap());
            let (before, after) = (reading(&now, &mut tree), reading(&then, &mut tree));
            let view = |reading, version| ReleaseView { reading, version };
            upgrade(view(&before, &now), view(&after, &then), &tree)
        };
        let on = between(case.on);
        assert!(
            on.iter().any(|finding| finding.id == case.id),
            "{} {:?}: {on:#?}",
            case.id,
            case.on
        );
        let off = between(case.off);
        assert!(
            !off.iter().any(|finding| finding.id == case.id),
            "{} {:?}: {off:#?}",
            case.id,
            case.off
        );
        check_texts(&on);
    }
}

#[test]
fn catalogue_is_covered_by_cases() {
    let mut tested: BTreeSet<FindingId> = CASES.iter().map(|case| case.id).collect();
    tested.extend(UPGRADES.iter().map(|case| case.id));
    let untested: Vec<_> = FindingId::ALL.iter().filter(|id| !tested.contains(id)).collect();
    assert!(untested.is_empty(), "{untested:?}");
    let names: BTreeSet<&str> = FindingId::ALL.iter().map(|id| id.as_str()).collect();
    assert_eq!(names.len(), FindingId::ALL.len());
    assert!(FindingId::ALL.is_sorted());
}

#[test]
fn inactive_registry_table_names_the_releases_on_which_it_takes_effect() {
    let text = "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/a\"\n\
                [§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n";
    let findings = found("2.1.9", &[(DEFAULT_CONFIG, text)]);
    let inactive = findings
        .iter()
        .find(|finding| finding.id == FindingId::InactiveRegistryTable)
        .unwrap();
    assert_eq!(inactive.place.as_ref().unwrap().line, Some(4));
    assert!(
        inactive.effect.contains("on containerd 2.3.0 and newer"),
        "{inactive:#?}"
    );
    assert!(
        inactive
            .effect
            .contains("On 2.3.0 and newer they would replace the `config_path`"),
        "{inactive:#?}"
    );
    // On 2.3 the old table takes effect, and the new one is lost.
    let findings = found("2.3.4", &[(DEFAULT_CONFIG, text)]);
    let inactive = findings
        .iter()
        .find(|finding| finding.id == FindingId::InactiveRegistryTable)
        .unwrap();
    assert_eq!(inactive.place.as_ref().unwrap().line, Some(2));
    assert!(inactive.effect.contains("on containerd 2.0 to 2.2"), "{inactive:#?}");
}

#[test]
fn inactive_registry_table_is_not_raised_for_overridden_settings() {
    let root = "version = 2\nimports = [\"conf.d/*.toml\"]\n[§]\nconfig_path = \"/a\"\n";
    let files = [
        (DEFAULT_CONFIG, root),
        (
            "/etc/containerd/conf.d/10.toml",
            "version = 2\n[§]\nconfig_path = \"/b\"\n",
        ),
        ("/a/", ""),
        ("/b/", ""),
    ];
    for version in ["1.7.24", "2.1.9", "2.4.2"] {
        let findings = found(version, &files);
        assert!(findings.is_empty(), "{version}: {findings:#?}");
    }
}

#[test]
fn both_set_refuses_if_the_plugin_is_required() {
    let text = "version = 2\nrequired_plugins = [\"io.containerd.grpc.v1.cri\"]\n[§]\nconfig_path = \"/x\"\n\
                [§.mirrors.\"ghcr.io\"]\n";
    let findings = found("1.7.24", &[(DEFAULT_CONFIG, text)]);
    assert_eq!(
        (findings[0].id, findings[0].severity),
        (FindingId::BothSet, Severity::Refuses)
    );
    let text = text.replace("[§]\nconfig_path = \"/x\"\n", "");
    let mut tree = tree(&[(DEFAULT_CONFIG, &text)]);
    let (now, then) = ("2.1.9".parse().unwrap(), "2.2.0".parse().unwrap());
    let (before, after) = (reading(&now, &mut tree), reading(&then, &mut tree));
    let view = |reading, version| ReleaseView { reading, version };
    let worst = upgrade(view(&before, &now), view(&after, &then), &tree).remove(0);
    assert_eq!(
        (worst.id, worst.severity),
        (FindingId::UpgradeDisablesCri, Severity::Refuses)
    );
}

#[test]
fn upgrade_disables_cri_recommends_migrate_only_if_mirrors_are_in_effect() {
    let remedy = |text: &str, from: &str, to: &str| {
        let mut tree = tree(&[(DEFAULT_CONFIG, text)]);
        let (now, then) = (from.parse().unwrap(), to.parse().unwrap());
        let (before, after) = (reading(&now, &mut tree), reading(&then, &mut tree));
        let view = |reading, version| ReleaseView { reading, version };
        let findings = upgrade(view(&before, &now), view(&after, &then), &tree);
        let finding = findings
            .iter()
            .find(|finding| finding.id == FindingId::UpgradeDisablesCri);
        finding.unwrap().remedy.clone()
    };
    let live = "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n";
    assert!(remedy(live, "2.1.9", "2.2.0").starts_with("Move the mirrors"));
    // 2.2 ignores both settings of a file without `version`, and 2.3 reads them.
    let ignored = "[plugins.cri.registry]\nconfig_path = \"/a\"\n[plugins.cri.registry.mirrors.\"ghcr.io\"]\n";
    assert!(remedy(ignored, "2.2.7", "2.3.4").starts_with("Remove the setting"));
}

#[test]
fn wildcard_single_upstream_names_host_and_registries() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"registry.k8s.io/pause:3.9\"\n\
                [§.mirrors.\"*\"]\nendpoint = [\"http://10.0.0.1:5000\"]\n[§.mirrors.\"ghcr.io\"]\n\
                endpoint = [\"http://10.0.0.2\"]\n[§.configs.\"quay.io\".auth]\nusername = \"u\"\npassword = \"hunter2\"\n";
    let findings = found(
        "1.7.24",
        &[
            (DEFAULT_CONFIG, text),
            ("/etc/containerd/certs.d/stale.example.net/", ""),
        ],
    );
    check_texts(&findings);
    let wildcard = findings
        .iter()
        .find(|finding| finding.id == FindingId::WildcardSingleUpstream)
        .unwrap();
    let named = "`docker.io`, `quay.io`, `registry.k8s.io` and `stale.example.net`";
    assert!(
        wildcard.what.contains("`http://10.0.0.1:5000`") && wildcard.what.contains(named),
        "{wildcard:#?}"
    );
    assert!(!wildcard.what.contains("ghcr.io"));
}

#[test]
fn findings_contain_no_secrets() {
    let everywhere = "version = 2\n[§.mirrors.\"https://u:hunter2@h\"]\nendpoint = [\"https://u:hunter2@a\", \
                      \"u:hunter2@b/x\", \"ftp://u:hunter2@c\", \"https://u:hun/hunter2@d\", \"http://e/?t=hunter2\"]\n\
                      token = \"hunter2\"\n[§.mirrors.\"u:hunter2@*.io\"]\n[§.configs.\"https://u:hunter2@h\".auth]\n\
                      password = \"hunter2\"\n[§.configs.\"u:hunter2@h\".tls]\ninsecure = \"hunter2\"\n\
                      [§.auths.\"https://u:hunter2@h\"]\nauth = \"hunter2\"\n[§.headers]\nAuthorization = [\"hunter2\"]\n\
                      [plugin.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"https://u:hunter2@h\"]\nendpoint = [\"x\"]\n";
    let wrong = "version = 2\n[§.auths]\n\"https://u:hunter2@h\" = \"hunter2\"\n";
    let syntax = "version = 2\n[§.configs.h.auth]\npassword = \"hunter2\" hunter2\n";
    let twice = "version = 2\n[§.configs.h.auth]\npassword = \"hunter2\"\npassword = \"hunter2\"\n";
    for version in ["1.6.20", "1.7.24", "2.1.9", "2.2.1", "2.3.4", "2.4.2"] {
        for text in [everywhere, wrong, syntax, twice] {
            let findings = found(version, &[(DEFAULT_CONFIG, text)]);
            assert!(!findings.is_empty(), "{version}");
            check_texts(&findings);
        }
        let mut tree = tree(&[(DEFAULT_CONFIG, everywhere)]);
        let (now, then) = (version.parse().unwrap(), "2.9.0".parse().unwrap());
        let (before, after) = (reading(&now, &mut tree), reading(&then, &mut tree));
        let view = |reading, version| ReleaseView { reading, version };
        check_texts(&upgrade(view(&before, &now), view(&after, &then), &tree));
    }
}

#[test]
fn drop_in_replaces_table_names_lost_keys_without_values() {
    let root = "version = 2\nimports = [\"conf.d/*.toml\"]\n[§.configs.\"h\".auth]\npassword = \"hunter2\"\n\
                [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\n";
    let drop_in = "[§]\nconfig_path = \"/a\"\n";
    let findings = found(
        "1.7.24",
        &[(DEFAULT_CONFIG, root), ("/etc/containerd/conf.d/10.toml", drop_in)],
    );
    check_texts(&findings);
    let lost = findings
        .iter()
        .find(|finding| finding.id == FindingId::DropInReplacesTable)
        .unwrap();
    for key in [
        "`containerd.runtimes.runc.options.SystemdCgroup`",
        "`registry.configs.h.auth.password`",
    ] {
        assert!(lost.effect.contains(key), "{lost:#?}");
    }
}

/// Returns the lines of releases on which some case raises a finding, as text.
fn releases(id: FindingId) -> String {
    let cases: Vec<_> = CASES.iter().filter(|case| case.id == id).collect();
    let is_raised = |version: &str| {
        let is_raised_by = |case: &&crate::findings::cases::Case| match case.off {
            NegativeCase::Root(_) => true,
            _ => found(version, case.files).iter().any(|finding| finding.id == id),
        };
        cases.iter().any(is_raised_by)
    };
    let good: Vec<bool> = LINES.iter().map(|line| is_raised(line.sample)).collect();
    if good.iter().all(|good| *good) {
        return "every release".to_owned();
    }
    let mut runs = Vec::new();
    let mut at = 0;
    while at < good.len() {
        let length = good[at..].iter().take_while(|good| **good).count();
        if length > 0 {
            let (first, last) = (LINES[at].from, LINES[at + length - 1].to);
            runs.push(match (at + length == good.len(), first == last) {
                (true, _) => format!("{first} and newer"),
                (false, true) => first.to_owned(),
                (false, false) => format!("{first} to {last}"),
            });
        }
        at += length.max(1);
    }
    // These findings are limited to releases that are not the sample of any line.
    match id {
        FindingId::DefaultDirectoryUnsupported => "1.6.0 to 1.6.16".to_owned(),
        FindingId::RestartLosesAddresses => "1.6.9 to 1.6.13".to_owned(),
        FindingId::RelativeImportGlob => "before 1.6.29 and 1.7.16".to_owned(),
        FindingId::NewerThanKnown => "newer than 2.4".to_owned(),
        _ => runs.join(", "),
    }
}

fn link(id: FindingId) -> String {
    format!("[`{id}`](#{id})")
}

/// Returns the tables of `docs/findings.md`.
fn tables() -> String {
    let title = |name: &str, columns: &str| {
        let rule = columns.split(" | ").map(|_| "---").collect::<Vec<_>>().join(" | ");
        [
            format!("## {name}"),
            String::new(),
            format!("| {columns} |"),
            format!("| {rule} |"),
        ]
    };
    let mut rows = Vec::from(title("Contents", "finding | severity | summary"));
    rows.extend(FindingId::ALL.iter().map(|id| {
        let summary = id.summary().replace("  ", " ");
        format!("| {} | {} | {summary} |", link(*id), id.severity())
    }));
    rows.push(String::new());
    rows.extend(title("By severity", "severity | findings"));
    for severity in Severity::ALL {
        let ids = FindingId::ALL.iter().filter(|id| id.severity() == *severity);
        let links: Vec<String> = ids.map(|id| link(*id)).collect();
        rows.push(format!("| {severity} | {} |", links.join(", ")));
    }
    rows.push(String::new());
    rows.extend(title("By release", "releases | findings"));
    let mut by_release: Vec<(String, Vec<String>)> = Vec::new();
    for id in FindingId::ALL.iter().filter(|id| !id.as_str().starts_with("upgrade-")) {
        let range = releases(*id);
        match by_release.iter_mut().find(|(known, _)| *known == range) {
            Some((_, found)) => found.push(link(*id)),
            None => by_release.push((range, vec![link(*id)])),
        }
    }
    by_release.sort_by_key(|(range, _)| (range != "every release", range.clone()));
    rows.extend(
        by_release
            .iter()
            .map(|(range, links)| format!("| {range} | {} |", links.join(", "))),
    );
    rows.join("\n") + "\n"
}

#[test]
fn manual_tables_match_the_catalogue_and_the_cases() {
    let manual = include_str!("../../../../docs/findings.md");
    let (_, rest) = manual.split_once("<!-- tables: begin -->\n").unwrap();
    let (written, _) = rest.split_once("<!-- tables: end -->").unwrap();
    let expected = format!("\n{}\n", tables());
    assert!(
        written == expected,
        "docs/findings.md must have these lines between its `tables` marks:\n{expected}"
    );
}

#[test]
fn documentation_is_the_section_of_the_manual() {
    for id in FindingId::ALL {
        let text = id.documentation();
        assert!(text.starts_with(&format!("**{}**", id.severity())), "{id}: {text}");
        assert!(!text.contains("\n## "), "{id}");
    }
}

#[test]
fn manual_has_a_section_per_finding() {
    let manual = include_str!("../../../../docs/findings.md");
    let sections: Vec<(&str, &str)> = manual
        .split("\n## `")
        .skip(1)
        .filter_map(|section| section.split_once("`\n"))
        .collect();
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    let expected: Vec<&str> = FindingId::ALL.iter().map(|id| id.as_str()).collect();
    assert_eq!(names, expected);
    for (id, (name, body)) in FindingId::ALL.iter().zip(sections) {
        assert!(
            body.contains(&format!("**{}**", id.severity())),
            "{name} has another severity"
        );
        let flat = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let summary = id.summary().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(&summary), "{name}: {summary}");
        for log in id.logs() {
            assert!(body.contains(log), "{name} does not quote {log}");
        }
    }
    for severity in Severity::ALL {
        assert!(manual.contains(&format!("- **{severity}**:")), "{severity}");
    }
}
