//! Rules of the house that no compiler knows: how long files are, which words do not occur, who may compare versions, and
//! papers that must name what is there.
//!
//! Each rule is a function from text to complaints, tried on bad text first: a rule that cannot fail is none.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a rule has against a file.
type Complaints = Vec<String>;

/// A file of the project: its path from the root with `/`, and its text.
struct File {
    path: String,
    text: String,
}

const LONGEST: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file of the project, builds and history left out.
fn files() -> Vec<File> {
    let root = root();
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let built = path.join("CACHEDIR.TAG").exists();
            if path.is_symlink()
                || built
                || [".git", "target", "fuzz/target", "fuzz/artifacts"].contains(&name.as_str())
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(File { path: name, text });
            }
        }
    }
    found.sort_by(|one, two| one.path.cmp(&two.path));
    assert!(
        found.iter().any(|file| file.path == "tests/it/tidy.rs"),
        "looked in the wrong place"
    );
    found
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Whether a source file is shipped: not a test of its crate.
fn is_shipped(path: &str) -> bool {
    let of_a_crate = (path.starts_with("crates/") || path.starts_with("agent/")) && path.contains("/src/");
    let test = path.split('/').any(|part| part == "tests" || part == "tests.rs") || path.ends_with("_tests.rs");
    of_a_crate && is_rust(path) && !test
}

/// The part of a shipped file before its tests.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

fn shape(file: &File) -> Complaints {
    let File { path, text } = file;
    let mut complaints = Vec::new();
    let lines = text.lines().count();
    if is_rust(path) && lines > LONGEST {
        complaints.push(format!("{path}: {lines} lines, and {LONGEST} is the limit"));
    }
    let drawer = |part: &str| ["utils", "util", "helpers", "misc"].contains(&part.trim_end_matches(".rs"));
    if is_rust(path) && path.split('/').any(drawer) {
        complaints.push(format!("{path}: a name that says nothing of what is inside"));
    }
    if is_rust(path) && is_shipped(path) && !text.starts_with("//! ") {
        complaints.push(format!("{path}: does not begin with the reason why it exists"));
    }
    complaints
}

/// Words that belong to no file. Written in two halves, so that this file has none of them.
fn forbidden() -> Vec<String> {
    [
        ["to", "do!"],
        ["unimpl", "emented!"],
        ["FIX", "ME"],
        ["/wo", "rk/"],
        ["/tmp/", "wt"],
        ["/ho", "me/"],
        ["/tmp/", "target"],
        ["sub", "agent"],
        ["chat", "bot"],
        ["language ", "model"],
        ["as an ", "AI"],
    ]
    .iter()
    .map(|halves| halves.concat())
    .collect()
}

/// Where every node of GKE has its programs: a fact about nodes, not a path of the machine that this was written on.
const OF_NODES: [&str; 2] = ["/ho", "me/kubernetes/"];

fn vocabulary(file: &File) -> Complaints {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let line = line.replace(&OF_NODES.concat(), "");
        for word in forbidden() {
            // `framework/` is no machine's path.
            let alone = |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric());
            if line.match_indices(&word).any(|(at, _)| alone(at)) {
                complaints.push(format!("{}:{}: `{word}`", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Versions are compared by the table of rules and by the type that asks it; everybody else asks for a rule by name.
fn versions(file: &File) -> Complaints {
    let File { path, text } = file;
    let owners = ["crates/containerd/src/rules.rs", "crates/containerd/src/version.rs"];
    if !is_shipped(path) || owners.contains(&path.as_str()) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (number, line) in shipped(text).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut complain = |what: &str| complaints.push(format!("{path}:{}: {what}: {}", number + 1, line.trim()));
        let compact: String = code.chars().filter(|letter| !letter.is_whitespace()).collect();
        if release_tuple(&compact) {
            complain("a release as numbers");
        }
        for (at, _) in compact.match_indices("rules::") {
            let used = compact[at + "rules::".len()..].trim_start_matches('{');
            // What is loaded alike is the rules' own; naming it compares nothing.
            if !["Rule", "LINES", "Line"].iter().any(|known| used.starts_with(known)) {
                complain("a private part of the rules");
            }
        }
        let compares = ["==", "!=", "<", ">", "starts_with", "matches!", "match"]
            .iter()
            .any(|sign| compact.contains(sign));
        let version = ["\"1.", "\"2.", "\"v1.", "\"v2."]
            .iter()
            .any(|literal| compact.contains(literal));
        if compares && version && compact.contains("version") || compact.contains(".release()==") {
            complain("a version compared as text");
        }
    }
    complaints
}

/// Whether `(1,6,20)` stands in a line without blanks, or `(2,2)` in one that compares.
fn release_tuple(compact: &str) -> bool {
    let compares = ["==", "!=", "<", ">", "matches!"]
        .iter()
        .any(|sign| compact.contains(sign));
    ["(1,", "(2,"].iter().any(|start| {
        compact.match_indices(start).any(|(at, _)| {
            // `f(1, 2)` is a call.
            let call = compact[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            let rest = &compact[at + start.len()..];
            let numbers: Vec<_> = rest
                .find(')')
                .map(|end| rest[..end].split(',').collect())
                .unwrap_or_default();
            let all = !numbers.is_empty() && numbers.iter().all(|number| number.parse::<u16>().is_ok());
            all && !call && (numbers.len() == 2 || numbers.len() == 1 && compares)
        })
    })
}

/// Every dependency of the workspace has its reason above it; one reason may serve a few that belong together.
fn reasons(manifest: &str) -> Complaints {
    const TOGETHER: usize = 6;
    let mut complaints = Vec::new();
    let mut since = TOGETHER;
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    for line in section.lines() {
        if line.starts_with('#') {
            since = 0;
        } else if line.is_empty() {
            since = TOGETHER;
        } else if line.contains("path = ") {
            // A crate of the project says itself what it is for.
        } else if line.contains(" = ") {
            if since >= TOGETHER {
                complaints.push(format!("no reason above `{line}`"));
            }
            since += 1;
        }
    }
    if section.trim().is_empty() {
        complaints.push("no dependencies found".to_owned());
    }
    complaints
}

/// The code map has a section for each crate, which names every source file of it, and none that is not there.
fn map(architecture: &str, sources: &BTreeSet<(String, String)>) -> Complaints {
    let mut complaints = Vec::new();
    let crates: BTreeSet<&String> = sources.iter().map(|(of, _)| of).collect();
    for name in crates {
        let heading = format!("### `{name}`");
        let Some(section) = architecture.split(&heading).nth(1) else {
            complaints.push(format!("no section {heading}"));
            continue;
        };
        let section = section.split("\n#").next().unwrap_or_default();
        let named = named_files(section);
        let there: BTreeSet<String> = sources
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, file)| file.clone())
            .collect();
        complaints.extend(
            there
                .difference(&named)
                .map(|file| format!("{name}: `{file}` is not named")),
        );
        complaints.extend(
            named
                .difference(&there)
                .map(|file| format!("{name}: `{file}` is not there")),
        );
    }
    complaints
}

/// The files that a section names: `` `a.rs` ``, and behind `` `folder/` `` in the same entry those in it.
fn named_files(section: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for entry in section.split("\n- ") {
        let mut folder = "";
        for word in entry.split('`').skip(1).step_by(2) {
            if word.ends_with('/') {
                folder = word;
            } else if is_rust(word) {
                named.insert(format!("{folder}{word}"));
            }
        }
    }
    named
}

/// The sources that a code map must name: every module but the roots of folders and tests.
fn sources(files: &[File]) -> BTreeSet<(String, String)> {
    let shipped = files.iter().filter(|file| is_shipped(&file.path));
    shipped
        .filter_map(|file| file.path.split_once("/src/"))
        .filter(|(_, file)| !file.ends_with("mod.rs"))
        .map(|(of, file)| (of.to_owned(), file.to_owned()))
        .collect()
}

/// README's table of exit codes has the codes of the program, each with a row.
fn exit_codes(readme: &str, program: &str) -> Complaints {
    let codes = program
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let codes: BTreeSet<&str> = codes
        .map(|(_, code)| code)
        .filter(|code| code.parse::<u8>().is_ok())
        .collect();
    let row = |line: &'_ str| -> Option<String> {
        let code = line.strip_prefix("| ")?.split_once(" |")?.0;
        code.parse::<u8>().ok().map(|code| code.to_string())
    };
    let rows: BTreeSet<String> = readme.lines().filter_map(row).collect();
    let mut complaints: Complaints = Vec::new();
    if codes.is_empty() || !codes.iter().map(|code| (*code).to_owned()).eq(rows.iter().cloned()) {
        complaints.push(format!("exit codes of the program {codes:?}, of README {rows:?}"));
    }
    complaints
}

fn none(complaints: &Complaints) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn each(rule: fn(&File) -> Complaints) {
    none(&files().iter().flat_map(rule).collect());
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    each(shape);
}

#[test]
fn no_file_has_words_of_a_machine_or_of_unfinished_work() {
    each(vocabulary);
}

#[test]
fn only_the_rules_compare_versions() {
    each(versions);
}

#[test]
fn every_dependency_has_a_reason() {
    none(&reasons(&read("Cargo.toml")));
}

#[test]
fn the_code_map_names_every_source_file() {
    none(&map(&read("ARCHITECTURE.md"), &sources(&files())));
}

#[test]
fn readme_has_the_exit_codes() {
    none(&exit_codes(&read("README.md"), &read("agent/src/exit.rs")));
}

mod can_fail {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn shape_of_bad_files() {
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        assert_eq!(shape(&file("crates/plan/src/a.rs", &long)).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/utils.rs", "//! Things.\n")).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/utils/mod.rs", "//! Things.\n")).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/a.rs", "use std::fs;\n")).len(), 1);
        assert!(shape(&file("crates/plan/src/a.rs", "//! Short.\n")).is_empty());
        assert!(shape(&file("docs/long.md", &long)).is_empty());
    }

    #[test]
    fn vocabulary_of_bad_files() {
        for word in forbidden() {
            assert_eq!(
                vocabulary(&file("docs/a.md", &format!("see {word} there"))).len(),
                1,
                "{word}"
            );
        }
        assert!(vocabulary(&file("a.md", "a frame/work, homework/s")).is_empty());
        assert!(vocabulary(&file("a.md", &OF_NODES.concat())).is_empty());
    }

    #[test]
    fn versions_compared_elsewhere() {
        for line in [
            "if release >= (1, 7, 24) {",
            "matches!(line, (2, 2))",
            "if line > (2, 2) {",
            "use crate::rules::OLDEST;",
            "rules::holds(rule, release)",
            "if version.release().starts_with(\"1.6.\") {",
            "if version == \"2.2.0\" {",
        ] {
            assert_eq!(versions(&file("crates/plan/src/a.rs", line)).len(), 1, "{line}");
        }
        for line in [
            "use crate::rules::{LINES, Line};",
            "let pair = take(1, 2);",
            "let (line, column) = (1, 0);",
            "// since (1, 7, 24)",
            "version.has(Rule::SchemaThree)",
        ] {
            assert!(versions(&file("crates/plan/src/a.rs", line)).is_empty(), "{line}");
        }
        let tested = "fn a() {}\n#[cfg(test)]\nmod tests {\n    let version == \"2.2.0\";\n}\n";
        assert!(versions(&file("crates/plan/src/a.rs", tested)).is_empty());
    }

    #[test]
    fn dependencies_without_reasons() {
        let manifest = |body: &str| format!("[workspace.dependencies]\n{body}\n[workspace.lints]\n");
        assert_eq!(reasons(&manifest("serde = \"1\"")).len(), 1);
        assert_eq!(reasons(&manifest("# Reads.\nserde = \"1\"\n\ntoml = \"1\"")).len(), 1);
        assert_eq!(reasons("[package]\n").len(), 1);
        assert!(reasons(&manifest("# Reads.\nserde = \"1\"\nserde_json = \"1\"")).is_empty());
    }

    #[test]
    fn maps_that_miss_or_invent() {
        let there = BTreeSet::from([
            ("agent".to_owned(), "a.rs".to_owned()),
            ("agent".to_owned(), "b/c.rs".to_owned()),
        ]);
        assert!(map("### `agent`\n\n- `a.rs`: a\n- `b/`: all\n  of `c.rs`\n", &there).is_empty());
        assert_eq!(map("### `agent`\n- `a.rs`\n\n## More\n`b/` `c.rs`\n", &there).len(), 1);
        assert_eq!(map("### `agent`\n- `a.rs`, `b/` `c.rs`, `d.rs`\n", &there).len(), 1);
        assert_eq!(map("## Nothing\n", &there).len(), 1);
    }

    #[test]
    fn exit_codes_that_differ() {
        let program = "enum Exit {\n    Done = 0,\n    Stuck = 5,\n}";
        assert!(exit_codes("| 0 | done |\n| 5 | stuck |\n", program).is_empty());
        assert_eq!(exit_codes("| 0 | done |\n", program).len(), 1);
        assert_eq!(
            exit_codes("| 0 | done |\n| 5 | stuck |\n| 9 | new |\n", program).len(),
            1
        );
        assert_eq!(exit_codes("", "").len(), 1);
    }
}
