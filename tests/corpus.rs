//! Where real files of other people are found: beside the project, never in it.

use crate::skip::skipped;
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The corpus, where it stands beside the project.
pub fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    folder.join("EFFECTIVE.json").is_file().then_some(folder)
}

/// A test of the corpus, with its name.
pub type CorpusTest = (&'static str, fn(&Path));

/// Runs tests that panic when they fail, each with the corpus, or tells that they were skipped.
pub fn with_corpus(tests: &[CorpusTest]) -> ExitCode {
    let trial = |(name, test): &CorpusTest| match corpus() {
        None => skipped(name, "the corpus is not beside the project"),
        Some(corpus) => {
            let test = *test;
            Trial::test(*name, move || {
                test(&corpus);
                Ok(())
            })
        }
    };
    libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect()).exit_code()
}
