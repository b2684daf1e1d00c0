//! The agent.
/// The one next thing to do.
#[expect(dead_code, reason = "in the making")]
mod decide;
#[expect(dead_code, reason = "in the making")]
mod host;
#[expect(dead_code, reason = "in the making")]
mod policy;
