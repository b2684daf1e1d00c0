//! Prints a result as text or JSON.

use crate::exit::Exit;
use crate::json;
use crate::options::{CommonArgs, OutputFormat};
use crate::output::CommandOutput;
use mirrorshift_containerd::redact;
use serde::Serialize;

/// Returns the text or the document, as `--output` requires.
pub(super) fn text_or_json<D: Serialize>(
    common: &CommonArgs,
    exit: Exit,
    text: impl FnOnce() -> String,
    document: impl FnOnce() -> D,
) -> CommandOutput {
    match common.output {
        // The crates mask secrets already. Masking the whole text again does not depend on them.
        OutputFormat::Text => CommandOutput::text(exit, redact::free_text(&text())),
        OutputFormat::Json => CommandOutput::text(exit, json::print(&document())),
    }
}
