//! What to change: facts in, a plan or a refusal out.
mod edit;
pub mod policy;
mod step;
pub use step::{Digest, Expect, Step};
