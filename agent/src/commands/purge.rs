//! Take every trace of the program away.

use super::{Report, consent};
use crate::cli::Common;
use crate::failure::Failure;

pub(super) fn run(_: &Common, _: bool) -> Result<Report, Failure> {
    consent::root("purge")?;
    Err(Failure::usage("purge", "not yet"))
}
