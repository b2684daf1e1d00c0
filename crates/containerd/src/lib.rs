//! What containerd means by its files.
mod tree;
pub use tree::{Entry, Tree};
