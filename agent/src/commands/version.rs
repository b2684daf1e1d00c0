//! `version`: the program's version, its target, and the supported containerd releases.

use crate::commands::print::text_or_json;
use crate::containerd_version::SUPPORTED;
use crate::exit::Exit;
use crate::json;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use std::env::consts::{ARCH, OS};

pub(super) fn run(common: &CommonArgs) -> CommandOutput {
    let version = env!("CARGO_PKG_VERSION");
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let target = format!("{ARCH}-{OS}-{libc}");
    let (oldest, newest) = SUPPORTED;
    let text = || {
        if common.quiet {
            return format!("{version}\n");
        }
        format!("mirrorshift {version}\ntarget:     {target}\ncontainerd: {oldest} to {newest}\n")
    };
    text_or_json(common, Exit::Done, text, || {
        json::version::document(version, &target, SUPPORTED)
    })
}
