//! Rules of the repository that no compiler checks: the length of files, forbidden words, the place of version
//! comparisons, and documents that must match the sources.
//!
//! Each rule is a function from text to complaints. The module `can_fail` tests each with bad text, because a rule that
//! cannot fail proves nothing.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The violations of a rule.
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

/// Returns every text file of the project, without builds and history.
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
        "the root of the project is wrong"
    );
    found
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Returns whether a source file is part of a shipped crate and not a test.
fn is_shipped(path: &str) -> bool {
    let of_a_crate = (path.starts_with("crates/") || path.starts_with("agent/")) && path.contains("/src/");
    let test = path.split('/').any(|part| part == "tests" || part == "tests.rs") || path.ends_with("_tests.rs");
    of_a_crate && is_rust(path) && !test
}

/// Returns the part of a shipped file before its tests.
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
        complaints.push(format!("{path}: the name does not say what is inside"));
    }
    if is_rust(path) && is_shipped(path) && !text.starts_with("//! ") {
        complaints.push(format!("{path}: does not begin with a `//!` comment"));
    }
    complaints
}

/// Words that no file may contain. They are written in two halves, so that this file does not contain them.
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

/// The folder of programs on every node of GKE: a fact about nodes, and not a path of a developer's machine.
const OF_NODES: [&str; 2] = ["/ho", "me/kubernetes/"];

fn vocabulary(file: &File) -> Complaints {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let line = line.replace(&OF_NODES.concat(), "");
        for word in forbidden() {
            // `framework/` is not a path of a machine.
            let alone = |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric());
            if line.match_indices(&word).any(|(at, _)| alone(at)) {
                complaints.push(format!("{}:{}: `{word}`", file.path, number + 1));
            }
        }
    }
    complaints
}

/// Only the table of rules and the type `Version` compare versions; all other code uses a rule by name.
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
            // These names are public, and using them compares nothing.
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

/// Returns whether a line without blanks contains `(1,6,20)`, or compares and contains `(2,2)`.
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

/// Every dependency of the workspace has a reason above it. One reason may serve a few related ones.
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
            // A crate of the project has its own documentation.
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

/// The code map has a section for each crate, which names every folder of its sources, and no folder that does not exist.
fn map(architecture: &str, folders: &BTreeSet<(String, String)>) -> Complaints {
    let mut complaints = Vec::new();
    let crates: BTreeSet<&String> = folders.iter().map(|(of, _)| of).collect();
    for name in crates {
        let heading = format!("### `{name}`");
        let Some(section) = architecture.split(&heading).nth(1) else {
            complaints.push(format!("no section {heading}"));
            continue;
        };
        let section = section.split("\n#").next().unwrap_or_default();
        // In code, a word that ends in a slash is a folder.
        let named: BTreeSet<String> = section
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|word| word.strip_suffix('/'))
            .map(|folder| folder.trim_start_matches(name.as_str()).trim_start_matches("/src/"))
            .map(|folder| folder.trim_start_matches("src/").to_owned())
            .collect();
        let present: BTreeSet<String> = folders
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, folder)| folder.clone())
            .collect();
        complaints.extend(
            present
                .difference(&named)
                .map(|folder| format!("{name}: `{folder}/` is not named")),
        );
        complaints.extend(
            named
                .difference(&present)
                .map(|folder| format!("{name}: `{folder}/` does not exist")),
        );
    }
    complaints
}

/// Returns the folders that the code map must name: those under `src` that have shipped Rust files.
fn source_folders(files: &[File]) -> BTreeSet<(String, String)> {
    let shipped = files.iter().filter(|file| is_shipped(&file.path));
    shipped
        .filter_map(|file| file.path.split_once("/src/"))
        .filter_map(|(of, file)| Some((of.to_owned(), file.rsplit_once('/')?.0.to_owned())))
        .collect()
}

/// The table of tests/README.md has every target of tests/Cargo.toml and every stage of tests/run, and no others.
fn test_index(readme: &str, manifest: &str, script: &str) -> Complaints {
    let mut complaints = Vec::new();
    let targets: BTreeSet<String> = manifest
        .split("[[test]]\n")
        .skip(1)
        .filter_map(|target| Some(target.split("name = \"").nth(1)?.split('"').next()?.to_owned()))
        .collect();
    let stages: BTreeSet<String> = script
        .lines()
        .find_map(|line| line.strip_prefix("stages=(")?.strip_suffix(')'))
        .map(|stages| stages.split(' ').map(str::to_owned).collect())
        .unwrap_or_default();
    if targets.is_empty() || stages.is_empty() {
        complaints.push("no targets or no stages found".to_owned());
    }
    let column = |number: usize| -> BTreeSet<String> {
        let rows = readme.lines().filter(|line| line.starts_with("| "));
        let cells = rows.filter_map(|row| row.split(" | ").nth(number));
        let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        // A path is not a target.
        words.filter(|word| !word.contains('/')).map(str::to_owned).collect()
    };
    for (what, present, listed) in [("target", targets, column(1)), ("stage", stages, column(2))] {
        complaints.extend(
            present
                .difference(&listed)
                .map(|name| format!("the {what} `{name}` is not listed")),
        );
        complaints.extend(
            listed
                .difference(&present)
                .map(|name| format!("there is no {what} `{name}`")),
        );
    }
    complaints
}

/// README's table of exit codes has one row for each code of the program.
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

fn assert_none(complaints: &Complaints) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn check_each_file(rule: fn(&File) -> Complaints) {
    assert_none(&files().iter().flat_map(rule).collect());
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn files_are_short_and_have_descriptive_names() {
    check_each_file(shape);
}

#[test]
fn no_file_contains_forbidden_words() {
    check_each_file(vocabulary);
}

#[test]
fn only_the_rules_compare_versions() {
    check_each_file(versions);
}

#[test]
fn every_dependency_has_a_reason() {
    assert_none(&reasons(&read("Cargo.toml")));
}

#[test]
fn code_map_names_every_source_folder() {
    assert_none(&map(&read("ARCHITECTURE.md"), &source_folders(&files())));
}

#[test]
fn test_index_lists_every_target_and_stage() {
    assert_none(&test_index(
        &read("tests/README.md"),
        &read("tests/Cargo.toml"),
        &read("tests/run"),
    ));
}

#[test]
fn readme_has_the_exit_codes() {
    assert_none(&exit_codes(&read("README.md"), &read("agent/src/exit.rs")));
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
    fn bad_shape_is_rejected() {
        let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        assert_eq!(shape(&file("crates/plan/src/a.rs", &long)).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/utils.rs", "//! Things.\n")).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/utils/mod.rs", "//! Things.\n")).len(), 1);
        assert_eq!(shape(&file("crates/plan/src/a.rs", "use std::fs;\n")).len(), 1);
        assert!(shape(&file("crates/plan/src/a.rs", "//! Short.\n")).is_empty());
        assert!(shape(&file("docs/long.md", &long)).is_empty());
    }

    #[test]
    fn forbidden_word_is_rejected() {
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
    fn version_comparison_elsewhere_is_rejected() {
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
    fn dependency_without_reason_is_rejected() {
        let manifest = |body: &str| format!("[workspace.dependencies]\n{body}\n[workspace.lints]\n");
        assert_eq!(reasons(&manifest("serde = \"1\"")).len(), 1);
        assert_eq!(reasons(&manifest("# Reads.\nserde = \"1\"\n\ntoml = \"1\"")).len(), 1);
        assert_eq!(reasons("[package]\n").len(), 1);
        assert!(reasons(&manifest("# Reads.\nserde = \"1\"\nserde_json = \"1\"")).is_empty());
    }

    #[test]
    fn map_with_missing_and_unknown_folders_is_rejected() {
        let folders = BTreeSet::from([
            ("agent".to_owned(), "a".to_owned()),
            ("agent".to_owned(), "a/b".to_owned()),
        ]);
        assert!(map("### `agent`\n\n- `a/`: a\n- `a/b/`: b\n", &folders).is_empty());
        assert_eq!(map("### `agent`\n- `a/`\n\n## More\n`a/b/`\n", &folders).len(), 1);
        assert_eq!(map("### `agent`\n- `a/`, `a/b/`, `c/`\n", &folders).len(), 1);
        assert_eq!(map("## Nothing\n", &folders).len(), 1);
    }

    #[test]
    fn test_index_with_missing_and_unknown_rows_is_rejected() {
        let (manifest, script) = ("[[test]]\nname = \"a\"\n", "stages=(fmt test)\n");
        let index = |rows: &str| test_index(rows, manifest, script).len();
        assert_eq!(index("| good | `a`, `crates/b` | `fmt`, `test` | | 1 |\n"), 0);
        assert_eq!(index("| good | `crates/b` | `fmt`, `test` | | 1 |\n"), 1);
        assert_eq!(index("| good | `a`, `b` | `fmt` | | 1 |\n"), 2);
        assert_eq!(test_index("", "", "").len(), 1);
    }

    #[test]
    fn missing_and_unknown_exit_codes_are_rejected() {
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
