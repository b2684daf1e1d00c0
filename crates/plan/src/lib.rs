//! What to change: facts in, a plan or a refusal out.
#[cfg_attr(not(test), expect(dead_code, reason = "for the planner"))]
mod hosts_file;
mod step;
pub use step::{Digest, Expect, Step};
