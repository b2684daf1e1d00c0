//! Completions and manual pages, made from the same description as `--help`.

use crate::cli;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::CommandOutput;
use clap_complete::Shell;
use std::io;
use std::path::Path;

pub(super) fn completions(shell: Shell) -> CommandOutput {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut cli::visible_command(), "mirrorshift", &mut out);
    CommandOutput::text(Exit::Done, String::from_utf8_lossy(&out).into_owned())
}

pub(super) fn manual(dir: Option<&Path>) -> Result<CommandOutput, CommandError> {
    let failed = |error: io::Error| {
        CommandError::new(
            Exit::Unexpected,
            "man",
            format!("cannot write the manual pages: {error}"),
        )
    };
    let mut out = Vec::new();
    if let Some(dir) = dir {
        clap_mangen::generate_to(cli::command(), dir).map_err(failed)?;
    } else {
        clap_mangen::Man::new(cli::command()).render(&mut out).map_err(failed)?;
    }
    Ok(CommandOutput::text(
        Exit::Done,
        String::from_utf8_lossy(&out).into_owned(),
    ))
}
