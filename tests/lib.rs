//! The suite: what several of its tests share.
//!
//! This crate never ships: nothing depends on it, and its dependencies reach no shipped crate.

pub mod lab; // real containerds pulling from recording registries
