//! What to change: facts in, a plan or a refusal out.
mod step;
pub use step::{Digest, Expect, Step};
