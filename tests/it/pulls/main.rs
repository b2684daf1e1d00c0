//! Real pulls: for every case and containerd, who is asked under the old files, under the migrated ones, and by the model.
//!
//! A case is a folder below `tests/pulls`; see `case.rs` for what stands in it. The folders below `tests/wrong-pulls` hold
//! migrations with a mistake in them, which must be caught.

mod case; // a case and its world
mod covered; // what the cases must cover
mod expected; // what a route means for the registries
mod held; // what they recorded against that
mod migrate; // from files to migrated files
mod run; // one case on one containerd

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Containerd, LINES, Lab};

use crate::case::Case;
use crate::run::Run;

/// Pulls at a time, as the lab has it for its own batches: more make starts slow enough to look like failures.
const AT_A_TIME: usize = 3;

/// What was compared on one release line.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Cases whose pulls were compared.
    cases: usize,
    /// Pulls in all rounds.
    pulls: usize,
    /// Requests that registries recorded in them.
    requests: usize,
    /// Cases whose pulls differ as the operator asks.
    asked: usize,
    /// Cases whose pulls differ as their words say that they must.
    known: usize,
    /// Cases that are refused, as they should.
    refused: usize,
    /// Wrong migrations that were caught.
    caught: usize,
    /// Trials that failed.
    different: usize,
}

/// Totals by containerd's version.
type Tallies = Arc<Mutex<BTreeMap<String, Tally>>>;

/// What is done with a case.
type Do = fn(&Run) -> Result<(), Failed>;

/// Folders of cases, and what is done with each.
const KINDS: [(&str, Do); 2] = [("pulls", Run::same), ("wrong-pulls", Run::caught)];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let tallies = Tallies::default();
    let mut trials = vec![
        Trial::test("pulls::cases_are_sound", || {
            Ok(covered::sound(&Case::all("pulls")?, &Case::all("wrong-pulls")?)?)
        }),
        Trial::test("pulls::cases_are_enough", || Ok(covered::enough(&Case::all("pulls")?)?)),
    ];
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    let lab = Lab::open(env!("CARGO_BIN_EXE_lab-run"))
        .map(Arc::new)
        .map_err(|missing| missing.to_string());
    for (folder, run) in KINDS {
        // A folder that cannot be read fails the trials above.
        let cases: Vec<_> = Case::all(folder)
            .unwrap_or_default()
            .into_iter()
            .map(Arc::new)
            .collect();
        for line in LINES {
            let containerd = Containerd::line(line).map_err(|missing| missing.to_string());
            for case in cases.iter().filter(|case| case.lines().iter().any(|of| of == line)) {
                let name = format!("{folder}::{line}::{}", case.name);
                trials.push(match (&lab, &containerd) {
                    (Ok(lab), Ok(containerd)) => {
                        let one = Run {
                            lab: Arc::clone(lab),
                            case: Arc::clone(case),
                            containerd: containerd.clone(),
                            tallies: Arc::clone(&tallies),
                        };
                        Trial::test(name, move || one.counted(run))
                    }
                    (Err(why), _) | (_, Err(why)) => {
                        skipped
                            .entry(format!("{folder}::{line}: {why}"))
                            .and_modify(|n| *n += 1)
                            .or_insert(1);
                        let why = why.clone();
                        // Run all the same, by `--include-ignored`, it fails: nothing passes that was not tried.
                        Trial::test(name, move || Err(why.into())).with_ignored_flag(true)
                    }
                });
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for (what, number) in &skipped {
        say(&format!("SKIPPED: {number} of {what}"));
    }
    say(&totals(&tallies.lock().unwrap_or_else(PoisonError::into_inner)));
    conclusion.exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn totals(tallies: &BTreeMap<String, Tally>) -> String {
    let mut text = String::from("\n");
    for (version, tally) in tallies {
        let Tally {
            cases,
            pulls,
            requests,
            asked,
            known,
            refused,
            caught,
            different,
        } = tally;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "containerd {version}: {cases} cases, {pulls} pulls, {requests} requests, {different} different; \
             {asked} changed as asked, {known} known limits, {refused} refused, {caught} mistakes caught"
        );
    }
    text
}
