//! The golden cases: a node's files before, the arguments, the printed plan, and the files after.
//!
//! A new case is a folder in `tests/cases` with `before/`, `case.toml` and optionally `policy.yaml`; it needs no
//! Rust. Run the test once with `MIRRORSHIFT_UPDATE=1`, which writes `plan.txt` and `after/`, and review both before
//! you commit them.

mod case;
mod covers;

use case::{Case, Node, files};
use libtest_mimic::{Arguments, Trial};
use mirrorshift_tests::snapshot;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The value of every password, token and key in the cases. It must not be printed.
const SECRET: &str = "s3cr3t";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = match Case::all() {
        Ok(cases) => cases,
        Err(error) => {
            let why = error.to_string();
            let trial = Trial::test("cases::read", move || Err(why.into()));
            return libtest_mimic::run(&arguments, vec![trial]).exit_code();
        }
    };
    let update = std::env::var_os("MIRRORSHIFT_UPDATE").is_some_and(|value| value == "1");
    let trials = cases.iter().cloned().map(|case| {
        let name = format!("cases::{}", case.name);
        Trial::test(name, move || one(&case, update).map_err(Into::into))
    });
    let mut trials: Vec<Trial> = trials.collect();
    trials.push(Trial::test("cases::covers", move || {
        covers::all(&cases).map_err(Into::into)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Checked = Result<(), String>;

fn one(case: &Case, update: bool) -> Checked {
    let printed = planned(case, &case.file.version)?;
    check_code(case, &printed)?;
    text(case, &printed.text, update)?;
    for (rule, other) in &case.file.rules {
        let otherwise = planned(case, other)?;
        let outcome = |printed: &Printed, version: &str| (printed.code, printed.text.replace(version, "VERSION"));
        if outcome(&otherwise, other) == outcome(&printed, &case.file.version) {
            return Err(format!("the plan for {other} is the same, so `{rule}` has no effect"));
        }
    }
    changed(case, &case.file.version, update)?;
    for version in &case.file.also {
        let also = |why: String| format!("containerd {version}: {why}");
        check_code(case, &planned(case, version)?).map_err(also)?;
        changed(case, version, false).map_err(also)?;
    }
    Ok(())
}

fn check_code(case: &Case, printed: &Printed) -> Checked {
    let Printed { code, text } = printed;
    if *code == case.file.exit {
        return Ok(());
    }
    Err(format!(
        "`plan --exit-code` exits {code}, not {}:\n{text}",
        case.file.exit
    ))
}

fn changed(case: &Case, version: &str, update: bool) -> Checked {
    match case.file.exit {
        7 => migrated(case, version, update),
        _ => untouched(case, version),
    }
}

struct Printed {
    code: i32,
    text: String,
}

/// Returns the output of `plan` and its exit code with `--exit-code`. Checks that without the flag only the exit code
/// 7 differs, and that nothing is written.
fn planned(case: &Case, version: &str) -> Result<Printed, String> {
    let node = node(case)?;
    let untouched = snapshot(node.root()).map_err(to_text)?;
    let coded = node
        .run(case, version, &["plan", "--exit-code", "--diff", "--routes"], true)
        .map_err(to_text)?;
    let plain = node
        .run(case, version, &["plan", "--diff", "--routes"], true)
        .map_err(to_text)?;
    if snapshot(node.root()).map_err(to_text)? != untouched {
        return Err("`plan` wrote something".to_owned());
    }
    let expected = if coded.code == 7 { 0 } else { coded.code };
    if plain.code != expected || plain.stdout != coded.stdout || plain.stderr != coded.stderr {
        return Err(format!("`plan` exits {}, with --exit-code {}", plain.code, coded.code));
    }
    let text = format!("{}{}", coded.stdout, coded.stderr);
    if text.contains(SECRET) {
        return Err(format!("a secret is printed:\n{text}"));
    }
    Ok(Printed { code: coded.code, text })
}

/// Checks `plan.txt` and the exit code.
fn text(case: &Case, printed: &str, update: bool) -> Checked {
    let path = case.folder.join("plan.txt");
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden == printed {
        return Ok(());
    }
    if update {
        fs::write(&path, printed).map_err(to_text)?;
        print_written(&path);
        return Ok(());
    }
    Err(difference("plan.txt", &golden, printed))
}

/// Migrates, migrates again and rolls back.
fn migrated(case: &Case, version: &str, update: bool) -> Checked {
    let node = node(case)?;
    let before = node.etc().map_err(to_text)?;
    run(&node, case, version, &["migrate", "--no-restart"], 0)?;
    let after = node.etc().map_err(to_text)?;
    for (path, (mode, _)) in &after {
        if before.get(path).is_some_and(|(old, _)| old != mode) {
            return Err(format!("the mode of {path} is {mode:o} now"));
        }
    }
    let wanted = case::wanted(case).map_err(to_text)?;
    if let Some(why) = differing(&files(&wanted), &files(&after)) {
        if !update {
            return Err(why);
        }
        case::rewrite(case, &files(&after)).map_err(to_text)?;
        print_written(&case.folder.join("after"));
    }
    run(&node, case, version, &["plan", "--exit-code", "--diff", "--routes"], 0)?;
    let written = snapshot(node.root()).map_err(to_text)?;
    run(&node, case, version, &["migrate", "--no-restart"], 0)?;
    if snapshot(node.root()).map_err(to_text)? != written {
        return Err("the second `migrate` wrote something".to_owned());
    }
    let printed = node
        .run(case, version, &["rollback", "--no-restart"], false)
        .map_err(to_text)?;
    let restored = node.etc().map_err(to_text)?;
    if printed.code != 0 {
        return Err(format!("`rollback` exits {}:\n{}", printed.code, printed.stderr));
    }
    if restored == before {
        return Ok(());
    }
    let bytes = differing(&files(&before), &files(&restored));
    let (old, new): (Vec<_>, Vec<_>) = (before.keys().collect(), restored.keys().collect());
    Err(bytes.unwrap_or_else(|| format!("`rollback` leaves a folder or a mode: {old:?}, {new:?}")))
}

/// Checks that nothing changes if there is nothing to do or the node is refused.
fn untouched(case: &Case, version: &str) -> Checked {
    if case.folder.join("after").exists() {
        return Err("the case changes nothing, and has an `after/`".to_owned());
    }
    let node = node(case)?;
    let before = snapshot(node.root()).map_err(to_text)?;
    run(&node, case, version, &["migrate", "--no-restart"], case.file.exit)?;
    if snapshot(node.root()).map_err(to_text)? != before {
        return Err("`migrate` wrote something".to_owned());
    }
    Ok(())
}

fn run(node: &Node, case: &Case, version: &str, words: &[&str], wanted: i32) -> Checked {
    let ran = node.run(case, version, words, true).map_err(to_text)?;
    if ran.stdout.contains(SECRET) || ran.stderr.contains(SECRET) {
        return Err(format!("`{}` prints a secret", words.join(" ")));
    }
    if ran.code == wanted {
        return Ok(());
    }
    let (words, code) = (words.join(" "), ran.code);
    Err(format!(
        "`{words}` exits {code}, not {wanted}:\n{}{}",
        ran.stdout, ran.stderr
    ))
}

fn node(case: &Case) -> Result<Node, String> {
    case.node().map_err(to_text)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn to_text(error: std::io::Error) -> String {
    error.to_string()
}

/// Returns the differences between two sets of files.
fn differing(wanted: &BTreeMap<&str, &[u8]>, got: &BTreeMap<&str, &[u8]>) -> Option<String> {
    let mut out = String::new();
    let paths: BTreeSet<_> = wanted.keys().chain(got.keys()).collect();
    for path in paths {
        let of = |files: &BTreeMap<&str, &[u8]>| files.get(*path).map(|bytes| bytes.to_vec());
        let (old, new) = (of(wanted), of(got));
        let line = match (&old, &new) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(_), None) => format!("{path} is missing\n"),
            (None, Some(_)) => format!("{path} should not be there\n"),
            _ => {
                let shown = |bytes: Option<Vec<u8>>| {
                    bytes
                        .unwrap_or_default()
                        .escape_ascii()
                        .to_string()
                        .replace("\\n", "\n")
                };
                difference(path, &shown(old), &shown(new))
            }
        };
        out.push_str(&line);
    }
    (!out.is_empty()).then_some(out)
}

fn difference(name: &str, wanted: &str, got: &str) -> String {
    let mut out = format!("{name} differs (MIRRORSHIFT_UPDATE=1 rewrites it):\n");
    let diff = TextDiff::from_lines(wanted, got);
    // Writing to a string cannot fail.
    let _ = write!(out, "{}", diff.unified_diff().context_radius(3).header("golden", "now"));
    out
}

#[expect(clippy::print_stdout, reason = "a test program's output is its report")]
fn print_written(path: &Path) {
    println!("rewrote {}", path.display());
}
