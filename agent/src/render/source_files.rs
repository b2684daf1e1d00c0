//! The files that a command read.

use crate::render::{WARNING, count, escape_control_chars, paint, wrap};
use crate::results::source_files::SourceFiles;
use mirrorshift_containerd::Version;

/// Files that are listed without `--verbose`.
const LISTED: usize = 4;

/// Returns the line `Read: …`, or the warning that there is no configuration.
pub(crate) fn text(
    sources: &SourceFiles,
    version: Option<&Version>,
    is_live: bool,
    verbose: bool,
    width: usize,
) -> String {
    if let Some(path) = &sources.missing_config {
        let label = "No configuration file:";
        let containerd = version.map_or_else(|| "containerd".to_owned(), |version| format!("containerd {version}"));
        let text = format!(
            "{label} {} does not exist; {containerd} would run with its defaults.",
            escape_control_chars(path)
        );
        let mut out = wrap("", &text, width).replacen(label, &paint(WARNING, label), 1);
        out.push_str(&wrap(
            "",
            if is_live {
                "Does containerd run with another --config? Then pass the same path with --config."
            } else {
                "Is --root right? It must be the directory that contains etc/ and usr/."
            },
            width,
        ));
        return out;
    }
    let found: Vec<String> = sources
        .files
        .iter()
        .filter(|file| file.found)
        .map(|file| escape_control_chars(&file.path))
        .collect();
    let listed = if verbose { found.len() } else { LISTED };
    let mut text = found.iter().take(listed).cloned().collect::<Vec<_>>().join(", ");
    if found.len() > listed {
        text.push_str(", …");
    }
    wrap("Read: ", &format!("{text} ({})", count(found.len(), "file")), width)
}
