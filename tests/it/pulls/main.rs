//! Real pulls, for every case and containerd: the requests with the old files, with the migrated files, and according
//! to the model must be the same.
//!
//! A case is a folder in `tests/pulls`; `case.rs` describes its contents. The folders in `tests/wrong-pulls` have
//! migrations with a mistake, which must be detected.

mod case; // a case and the registries around it
mod covered; // coverage of the cases
mod expected; // the expected requests of a route
mod held; // the comparison of recorded and expected requests
mod migrate; // migration of a node's files
mod run; // one case on one containerd

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{Containerd, LINES, Lab};

use crate::case::Case;
use crate::run::Run;

/// The number of pulls at the same time, like the lab's own limit: more would make starts so slow that they look like
/// failures.
const AT_A_TIME: usize = 3;

/// The totals of one release line.
#[derive(Clone, Copy, Default)]
struct Tally {
    cases: usize,
    pulls: usize,
    /// Requests that registries recorded in them.
    requests: usize,
    /// Cases whose pulls differ because the operator requests it.
    requested: usize,
    /// Cases whose pulls differ unavoidably, as the case explains.
    unavoidable: usize,
    /// Cases that are refused, as expected.
    refused: usize,
    /// Wrong migrations that were detected.
    caught: usize,
    /// Tests that failed.
    different: usize,
}

type Tallies = Arc<Mutex<BTreeMap<String, Tally>>>;

/// The function of a kind of case.
type Do = fn(&Run) -> Result<(), Failed>;

/// The folders of cases, and the function of each.
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
        // The tests above fail if a folder cannot be read.
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
                        // It fails with `--include-ignored`, because nothing passes without a test.
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
            requested,
            unavoidable,
            refused,
            caught,
            different,
        } = tally;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "containerd {version}: {cases} cases, {pulls} pulls, {requests} requests, {different} different; \
             {requested} differ as requested, {unavoidable} differ unavoidably, {refused} refused, {caught} mistakes caught"
        );
    }
    text
}
