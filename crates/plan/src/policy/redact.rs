//! Removes secrets from an operator's text before an error repeats it: user-info, queries, and values of keys that name a
//! secret.
//!
//! The common redactor decides which keys name a secret and masks complete values. Only this module masks a part of a line
//! and moves a caret along, and it also masks user-info without a scheme, because a policy is often wrong in that way.

use mirrorshift_containerd::redact;
use std::ops::Range;

/// The length at which a value is cut, because messages are read on a terminal.
const LONGEST_VALUE: usize = 60;
/// The length at which a line is cut around the caret.
const LONGEST_LINE: usize = 120;
/// The length of a cut line before the caret.
const BEFORE_CARET: usize = 40;
const MASK: &str = "***";
/// Parts of keys that may name a secret, in addition to those of the common redactor. An unknown key of a policy is masked
/// rather too often than too rarely.
const SECRET_PARTS: [&str; 5] = ["pass", "auth", "private", "bearer", "header"];

/// Returns a value as a message may repeat it between backticks.
pub(super) fn value(text: &str) -> String {
    // The value is masked before it is cut, because the `@` that ends the user-info may be behind the cut.
    let chars: Vec<char> = text.chars().collect();
    let (masked, ..) = masked(&chars, &secrets(&chars), 0..0);
    let masked: Vec<char> = redact::free_text(&masked.iter().collect::<String>()).chars().collect();
    let mut shown: String = masked.iter().take(LONGEST_VALUE).collect();
    if masked.len() > LONGEST_VALUE {
        shown.push('…');
    }
    shown
}

/// Returns a line as a message may repeat it, and the position of its characters `at` in that text.
///
/// With `cut`, the text behind them is masked, because the value of an unknown key may be a secret.
pub(super) fn line(text: &str, at: Range<usize>, cut: bool) -> (String, Range<usize>) {
    let chars: Vec<char> = text.chars().collect();
    let mut secrets = secrets(&chars);
    if cut && at.end < chars.len() && !chars[at.end..].iter().all(|c| c.is_whitespace() || *c == ':') {
        let colon = usize::from(chars[at.end] == ':');
        secrets.push(at.end + colon..chars.len());
    }
    let (masked, at) = masked(&chars, &secrets, at);
    window(&masked, at)
}

fn window(chars: &[char], at: Range<usize>) -> (String, Range<usize>) {
    if chars.len() <= LONGEST_LINE {
        return (chars.iter().collect(), at);
    }
    let from = at.start.saturating_sub(BEFORE_CARET);
    let to = chars.len().min(from + LONGEST_LINE);
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < chars.len() { "…" } else { "" });
    let shift = before.chars().count();
    let shown: String = chars[from..to].iter().collect();
    (
        format!("{before}{shown}{after}"),
        at.start - from + shift..at.end.min(to).max(at.start) - from + shift,
    )
}

/// Replaces each secret, and each character that would disturb a terminal. Returns the new text and the new position of `at`.
fn masked(chars: &[char], secrets: &[Range<usize>], at: Range<usize>) -> (Vec<char>, Range<usize>) {
    let mut shown = Vec::with_capacity(chars.len());
    let (mut start, mut end) = (None, None);
    let mut hidden = false;
    for (index, c) in chars.iter().enumerate() {
        if index == at.start {
            start = Some(shown.len());
        }
        if index == at.end {
            end = Some(shown.len());
        }
        let secret = secrets.iter().any(|range| range.contains(&index));
        if secret && !hidden {
            shown.extend(MASK.chars());
        } else if !secret {
            shown.push(match c {
                '\t' => ' ',
                c if c.is_control() || is_invisible(*c) => char::REPLACEMENT_CHARACTER,
                c => *c,
            });
        }
        hidden = secret;
    }
    let (start, end) = (start.unwrap_or(shown.len()), end.unwrap_or(shown.len()));
    (shown, start..end.max(start))
}

/// Returns true for characters that reverse the direction of text or have no width, because they hide text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn secrets(chars: &[char]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let scheme = position(chars, &[':', '/', '/']).map(|at| at + 3);
    if let Some(at) = chars.iter().rposition(|c| *c == '@') {
        // A password may contain any character, so the user-info ends at the last `@` and begins as early as possible.
        let begin = scheme
            .filter(|from| *from <= at)
            .or_else(|| value_start(&chars[..at]))
            .unwrap_or(0);
        found.push(begin..at);
    }
    if let Some(from) = scheme
        && let Some(query) = chars[from..].iter().position(|c| *c == '?')
    {
        let query = from + query + 1;
        let ends = chars[query..]
            .iter()
            .position(|c| c.is_whitespace() || matches!(c, '"' | '\''));
        found.push(query..ends.map_or(chars.len(), |len| query + len));
    }
    found.extend(secret_value_start(chars).map(|from| from..chars.len()));
    found.retain(|range| !range.is_empty());
    found
}

/// Returns true when a key of this name may contain a secret.
fn names_secret(key: &str) -> bool {
    SECRET_PARTS.iter().any(|part| key.contains(part)) || redact::holds_secret(&format!("{key} = \"value\"\n"))
}

fn position(chars: &[char], wanted: &[char]) -> Option<usize> {
    chars.windows(wanted.len()).position(|window| window == wanted)
}

/// Returns the start of the first value of a line: behind `key: `, `- ` or a quote.
fn value_start(chars: &[char]) -> Option<usize> {
    let spaced = chars
        .windows(2)
        .position(|pair| matches!(pair, [':' | '-', ' ']))
        .map(|at| at + 2);
    let quoted = chars.iter().position(|c| matches!(c, '"' | '\'')).map(|at| at + 1);
    spaced.into_iter().chain(quoted).min()
}

/// Returns the start of the value of a key such as `password:` or `X-Auth-Token=`.
fn secret_value_start(chars: &[char]) -> Option<usize> {
    let mut word = String::new();
    for (index, c) in chars.iter().enumerate() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') {
            word.extend(c.to_lowercase());
        } else if matches!(c, ':' | '=') && names_secret(&word) {
            return Some(index + 1);
        } else if !matches!(c, '"' | '\'' | ' ') {
            word.clear();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{line, value};

    #[test]
    fn user_info_queries_and_values_of_secret_keys_are_masked() {
        for (text, shown) in [
            ("http://user:pw@h/p", "http://***@h/p"),
            ("http://user:p@w/x@h", "http://***@h"),
            ("user:pw@h", "***@h"),
            ("http://h?token=abc", "http://h?***"),
            ("http://h/v2", "http://h/v2"),
            ("a\tb\u{7}\u{202e}c", "a b��c"),
        ] {
            assert_eq!(value(text), shown);
        }
        for (text, shown) in [
            ("  - url: http://u:p@h # x", "  - url: http://***@h # x"),
            ("  - url: \"u s:p w@h\"", "  - ***@h\""),
            ("    password: hunter2", "    password:***"),
            ("    \"X-Auth-Token\" : hunter2", "    \"X-Auth-Token\" :***"),
            ("- url: 'https://h/?sig=abc' # x", "- url: 'https://h/?***' # x"),
            ("  host: auth.example.com", "  host: auth.example.com"),
        ] {
            assert_eq!(line(text, 0..1, false).0, shown);
        }
    }

    #[test]
    fn caret_moves_with_the_masked_text() {
        let (shown, at) = line("{url: http://user:pw@h, bogus: 1}", 24..29, false);
        assert_eq!((shown.as_str(), &shown[at]), ("{url: http://***@h, bogus: 1}", "bogus"));
        let (shown, at) = line("  bogus: hunter2", 2..7, true);
        assert_eq!((shown.as_str(), &shown[at]), ("  bogus:***", "bogus"));
        assert_eq!(line("  bogus:", 2..7, true).0, "  bogus:");
        let long = format!("{}bogus{}", "a".repeat(1000), "b".repeat(1000));
        let (shown, at) = line(&long, 1000..1005, false);
        let chars: Vec<char> = shown.chars().collect();
        assert_eq!(
            (chars.len(), chars[at].iter().collect::<String>()),
            (122, "bogus".to_owned())
        );
        assert_eq!(value(&"x".repeat(300)).chars().count(), 61);
        assert_eq!(value(&format!("http://{}@h", "x".repeat(300))), "http://***@h");
    }
}
