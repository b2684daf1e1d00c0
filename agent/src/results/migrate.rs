//! The result of `migrate`.

use crate::results::event::ProgressEvent;
use mirrorshift_node::Outcome;
use mirrorshift_plan::Plan;

/// The result of a `migrate`, or of a repair.
#[derive(Debug)]
pub(crate) struct MigrateResult {
    /// A sentence about the interrupted change of an earlier run, when there was one.
    pub(crate) recovered: Option<String>,
    /// The change and its plan; `None` when there was nothing to do.
    pub(crate) done: Option<(mirrorshift_node::Report, Plan)>,
    /// The directory that `config_path` names.
    pub(crate) config_path: Option<String>,
    /// The steps of a change of a running node; `None` when only files were written.
    pub(crate) live: Option<Vec<ProgressEvent>>,
}

/// Returns a fragment about the end of an interrupted change.
pub(crate) fn describe_recovery(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Nothing => None,
        Outcome::Settled(report) => Some(format!("finished the interrupted change {}", report.change)),
        Outcome::Undone(report) | Outcome::RolledBack(report) => {
            Some(format!("undid the interrupted change {}", report.change))
        }
    }
}
