//! The command to run next.

use crate::node::{NodeSource, PolicySource};
use crate::render::escape_control_chars;
use std::path::Path;

/// Returns the command `mirrorshift VERB` with the arguments of this run. On the running machine it begins with `sudo`.
pub(crate) fn next_command(source: &NodeSource, verb: &str, policy: Option<&PolicySource>) -> String {
    let is_live = source.root == Path::new("/");
    let mut words = Vec::new();
    if is_live && verb != "plan" {
        words.push("sudo".to_owned());
    }
    words.extend(["mirrorshift".to_owned(), verb.to_owned()]);
    let mut option = |name: &str, value: &str| words.push(format!("{name} {}", quoted(value)));
    if !is_live {
        option("--root", &source.root.display().to_string());
    }
    if verb != "rollback" {
        if let Some(version) = &source.containerd_version {
            option("--containerd-version", version);
        }
        if source.config() != mirrorshift_containerd::DEFAULT_CONFIG {
            option("--config", source.config());
        }
    }
    for (flag, value) in policy.iter().flat_map(|policy| policy.flags()) {
        option(flag, value);
    }
    escape_control_chars(&words.join(" "))
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
