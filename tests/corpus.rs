//! Finds the corpus: configuration files from public repositories, which are next to the project and never in it.

use crate::skip::skipped;
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Returns the folder of the corpus if it is next to the project.
pub fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    folder.join("EFFECTIVE.json").is_file().then_some(folder)
}

/// The name of a test of the corpus, and the test.
pub type CorpusTest = (&'static str, fn(&Path));

/// Runs tests that panic when they fail, or reports them as skipped if there is no corpus.
pub fn with_corpus(tests: &[CorpusTest]) -> ExitCode {
    let trial = |(name, test): &CorpusTest| match corpus() {
        None => skipped(name, "the corpus is not next to the project"),
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
