//! Unified diffs without secrets.
//!
//! Both sides are masked before they are compared. Masking keeps the lines, and a plan never changes a secret, so a diff
//! loses nothing but the secrets.

use crate::wording::escape_control_chars;
use mirrorshift_containerd::Tree;
use mirrorshift_containerd::redact;
use mirrorshift_plan::{Expect, Step};
use similar::{ChangeTag, TextDiff};

/// Unchanged lines around each change.
const CONTEXT: usize = 3;

/// Returns the unified diff of the file of one step, without colors.
pub(crate) fn step_diff(step: &Step, tree: &Tree) -> String {
    let old = match step.expect {
        Expect::Absent => None,
        Expect::File(_) => tree.file(&step.path),
    };
    unified(&step.path, old, step.content.as_deref())
}

fn unified(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> String {
    let masked = |bytes: Option<&[u8]>| redact::file(&String::from_utf8_lossy(bytes.unwrap_or_default()));
    let name = |side: &str, bytes: Option<&[u8]>| match bytes {
        Some(_) => format!("{side}{path}"),
        None => "/dev/null".to_owned(),
    };
    let (before, after) = (masked(old), masked(new));
    let diff = TextDiff::from_lines(&before, &after);
    let mut out = format!("--- {}\n+++ {}\n", name("a", old), name("b", new));
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        out.extend([hunk.header().to_string().as_str(), "\n"]);
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            out.push(sign);
            out.push_str(&escape_control_chars(change.value().trim_end_matches(['\n', '\r'])));
            out.push('\n');
            if change.missing_newline() {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn diff_masks_secrets_and_keeps_every_line() {
        let old = b"a = 1\r\npassword = \"hunter2\"\r\nb = 2";
        let new = b"a = 1\r\npassword = \"hunter2\"\r\nb = 3";
        assert_eq!(
            unified("/etc/x.toml", Some(old), Some(new)),
            "--- a/etc/x.toml\n+++ b/etc/x.toml\n@@ -1,3 +1,3 @@\n a = 1\n password = \"***\"\n-b = 2\n\\ No newline at end of \
             file\n+b = 3\n\\ No newline at end of file\n"
        );
        let made = unified("/n", None, Some(b"x = 1\n"));
        assert_eq!(made, "--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x = 1\n");
        assert_eq!(
            unified("/n", Some(b"x\n"), None),
            "--- a/n\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        );
    }
}
