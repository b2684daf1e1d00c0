//! What to change: facts in, a plan or a refusal out.
/// One change as a loop: facts in, the next move out.
pub mod change;
mod step;
pub use step::{Digest, Expect, Step};
