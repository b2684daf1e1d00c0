//! Guarantees of the planner for every configuration, tested on generated ones.

use mirrorshift_containerd::{Entry, Tree, Version, read};
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::{NodeFiles, Plan, Refusal, RefusalReason, plan};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const CONFIG: &str = "/etc/containerd/config.toml";
const VERSIONS: &[&str] = &[
    "1.6.0", "1.6.16", "1.6.20", "1.6.25", "1.6.36", "1.7.0", "1.7.7", "1.7.24", "1.7.32", "2.0.0", "2.0.11", "2.1.9",
    "2.2.1", "2.2.7", "2.3.4", "2.4.2",
];
const REGISTRIES: &[&str] = &[
    "*",
    "docker.io",
    "ghcr.io",
    "quay.io",
    "localhost:5000",
    "127.0.0.1:32000",
    "10.0.0.5:5000",
    "reg.test",
    "reg.test:8443",
];
const ENDPOINTS: &[&str] = &[
    "https://registry-1.docker.io",
    "https://docker.io",
    "http://10.0.0.5:5000",
    "10.0.0.5:5000",
    "localhost:5000",
    "https://harbor.test/v2/proxy",
    "https://harbor.test/v2/",
    "https://harbor.test/proxy",
    "https://harbor.test/",
    "http://reg.test:8443",
    "https://reg.test",
    "https://ghcr.io",
    "HTTP://cache.test",
    "ftp://cache.test",
];

#[derive(Clone, Debug)]
struct Legacy {
    mirrors: BTreeMap<&'static str, Vec<&'static str>>,
    tls: Vec<(&'static str, &'static str)>,
    auth: Vec<&'static str>,
    schema: u8,
    indent: &'static str,
    ending: &'static str,
    comments: bool,
}

impl Legacy {
    /// Returns the file as an operator would have written it, between other tables.
    fn text(&self) -> String {
        let (table, head) = match self.schema {
            1 => ("plugins.cri", String::new()),
            2 => ("plugins.\"io.containerd.grpc.v1.cri\"", "version = 2\n".to_owned()),
            schema => ("plugins.'io.containerd.cri.v1.images'", format!("version = {schema}\n")),
        };
        let indent = self.indent;
        let mut text =
            format!("# site 7\n{head}root = \"/data\"\n\n[{table}]\n{indent}max_concurrent_downloads = 5\n\n");
        for (registry, endpoints) in &self.mirrors {
            if self.comments {
                let _ = writeln!(text, "{indent}# mirror of {registry}");
            }
            let list = endpoints
                .iter()
                .map(|endpoint| format!("\"{endpoint}\""))
                .collect::<Vec<_>>()
                .join(", ");
            let _ = writeln!(
                text,
                "{indent}[{table}.registry.mirrors.\"{registry}\"]\n{indent}{indent}endpoint = [{list}]"
            );
        }
        for (host, line) in &self.tls {
            let _ = writeln!(
                text,
                "{indent}[{table}.registry.configs.\"{host}\".tls]\n{indent}{indent}{line}"
            );
        }
        for host in &self.auth {
            let _ = writeln!(
                text,
                "[{table}.registry.configs.\"{host}\".auth]\nusername = \"u\"\npassword = \"p\" # kept"
            );
        }
        text.push_str("\n# the end\n[debug]\n\tlevel = \"info\"");
        text.replace('\n', self.ending)
    }
}

fn legacy() -> impl Strategy<Value = Legacy> {
    let hosts = [
        "10.0.0.5:5000",
        "harbor.test",
        "reg.test",
        "registry-1.docker.io",
        "localhost:5000",
    ];
    let tls = [
        "insecure_skip_verify = true",
        "ca_file = \"/etc/ssl/missing.pem\"",
        "cert_file = \"/c.pem\"",
    ];
    (
        btree_map(select(REGISTRIES), vec(select(ENDPOINTS), 0..4), 0..5),
        vec((select(hosts.to_vec()), select(tls.to_vec())), 0..2),
        subsequence(hosts.to_vec(), 0..3),
        1..=4u8,
        select(vec!["", "  ", "\t"]),
        select(vec!["\n", "\r\n"]),
        any::<bool>(),
    )
        .prop_map(|(mirrors, tls, auth, schema, indent, ending, comments)| {
            let mut tls: Vec<_> = tls;
            tls.sort_unstable();
            tls.dedup_by_key(|(host, _)| *host);
            Legacy {
                mirrors,
                tls,
                auth,
                schema,
                indent,
                ending,
                comments,
            }
        })
}

fn tree_of(version: &Version, text: &str) -> Tree {
    let mut tree = Tree::new();
    tree.insert(CONFIG, Entry::File(text.as_bytes().to_vec()));
    complete(version, &mut tree);
    tree
}

fn complete(version: &Version, tree: &mut Tree) {
    loop {
        let missing = read(version, CONFIG, tree).missing;
        if missing.is_empty() {
            return;
        }
        for path in missing {
            tree.insert(path, Entry::Absent);
        }
    }
}

fn planned(version: &Version, tree: &Tree) -> Result<Plan, Box<Refusal>> {
    let owned = BTreeSet::new();
    plan(
        &NodeFiles {
            version,
            config: CONFIG,
            tree,
            owned: &owned,
            images: &[],
        },
        &Policy::default(),
    )
}

/// Returns the tree after the plan's files are in place.
fn applied(version: &Version, tree: &Tree, plan: &Plan) -> Tree {
    let mut files: BTreeMap<String, Vec<u8>> = tree
        .iter()
        .filter_map(|(path, _)| Some((path.to_owned(), tree.file(path)?.to_vec())))
        .collect();
    for step in &plan.steps {
        files.insert(step.path.clone(), step.content.clone().unwrap_or_default());
    }
    let mut after = Tree::new();
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, bytes) in &files {
        after.insert(path.clone(), Entry::File(bytes.clone()));
        let mut child = path.as_str();
        while let Some((parent, name)) = child.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            folders.entry(parent.to_owned()).or_default().insert(name.to_owned());
            child = parent;
        }
    }
    for (path, names) in folders {
        after.insert(path, Entry::Folder(names.into_iter().collect()));
    }
    complete(version, &mut after);
    after
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn legacy_configuration_migrates_to_equal_routes(legacy in legacy(), version in any::<Index>()) {
        let version: Version = VERSIONS[version.index(VERSIONS.len())].parse().unwrap();
        let text = legacy.text();
        let tree = tree_of(&version, &text);
        let plan = match planned(&version, &tree) {
            Ok(plan) => plan,
            Err(refusal) => {
                // Only these refusals are allowed.
                let known = match refusal.reason {
                    RefusalReason::Unreadable => true,
                    RefusalReason::WildcardUnsupported => legacy.mirrors.contains_key("*"),
                    RefusalReason::Endpoint | RefusalReason::Routes => !legacy.mirrors.is_empty() || !legacy.tls.is_empty(),
                    _ => false,
                };
                prop_assert!(known, "{refusal:?}\n{text}");
                return Ok(());
            }
        };
        let dead_before = plan.notes.iter().any(|note| matches!(note, mirrorshift_plan::Note::RepairsCri(_)));
        for change in &plan.routes {
            prop_assert!(dead_before || !change.differs(), "{}: {:?}\n{text}", change.registry, change);
        }
        let after = applied(&version, &tree, &plan);
        let again = planned(&version, &after);
        prop_assert!(again.as_ref().is_ok_and(Plan::is_empty), "a second run would change something: {again:?}\n{text}");
        if let Some(bytes) = after.file(CONFIG) {
            let new = String::from_utf8(bytes.to_vec()).unwrap();
            for line in ["# site 7", "root = \"/data\"", "max_concurrent_downloads = 5", "# the end", "level = \"info\""] {
                prop_assert!(new.contains(line), "lost `{line}`:\n{new}");
            }
            prop_assert_eq!(new.matches("password = \"p\" # kept").count(), legacy.auth.len());
            prop_assert!(legacy.ending == "\n" || new.matches('\n').count() == new.matches("\r\n").count());
        }
    }

    #[test]
    fn planning_never_panics(text in "(\\[{1,2}|\\]|plugins|version|registry|mirrors|imports|=|\"|'|\\.|\n| |[0-9]|\\{|\\}|,|#|\\PC){0,60}") {
        for version in ["1.6.20", "2.4.2"] {
            let version: Version = version.parse().unwrap();
            drop(planned(&version, &tree_of(&version, &text)));
        }
    }
}
