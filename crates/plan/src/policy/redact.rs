//! What of an operator's text may be repeated in a message: never user-info, queries or what a secret's key holds.

use std::ops::Range;

/// Longer values are cut: a message is read on a terminal.
const LONGEST_VALUE: usize = 60;
/// Longer lines are cut round the caret.
const LONGEST_LINE: usize = 120;
/// How much of a cut line stays in front of the caret.
const BEFORE_CARET: usize = 40;
const MASK: &str = "***";
const SECRET_WORDS: [&str; 11] = [
    "pass",
    "secret",
    "token",
    "auth",
    "credential",
    "private",
    "bearer",
    "header",
    "cookie",
    "apikey",
    "api_key",
];

/// A value to stand between backticks.
pub(super) fn value(text: &str) -> String {
    // Masked before it is cut: the `@` that gives user-info away may stand behind the cut.
    let chars: Vec<char> = text.chars().collect();
    let (masked, ..) = masked(&chars, &secrets(&chars), 0..0);
    let mut shown: String = masked.iter().take(LONGEST_VALUE).collect();
    if masked.len() > LONGEST_VALUE {
        shown.push('…');
    }
    shown
}

/// A line, with the characters `at` of it to point at; returns what to show, and the same characters in that.
///
/// With `cut`, nothing behind them is shown: nobody knows what an unknown key holds.
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

/// Replaces each secret, and each character that would disturb a terminal; moves `at` along.
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

/// Characters that turn the direction of text round, or have no width, hide what is written.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn secrets(chars: &[char]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let scheme = position(chars, &[':', '/', '/']).map(|at| at + 3);
    if let Some(at) = chars.iter().rposition(|c| *c == '@') {
        // A password may hold any character, so the last `@` ends it and the first sensible place begins it.
        let begin = scheme
            .filter(|from| *from <= at)
            .or_else(|| value_begins(&chars[..at]))
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
    found.extend(secret_key(chars).map(|from| from..chars.len()));
    found.retain(|range| !range.is_empty());
    found
}

fn position(chars: &[char], wanted: &[char]) -> Option<usize> {
    chars.windows(wanted.len()).position(|window| window == wanted)
}

/// Where the first value of a line begins: behind `key: `, `- ` or a quote.
fn value_begins(chars: &[char]) -> Option<usize> {
    let spaced = chars
        .windows(2)
        .position(|pair| matches!(pair, [':' | '-', ' ']))
        .map(|at| at + 2);
    let quoted = chars.iter().position(|c| matches!(c, '"' | '\'')).map(|at| at + 1);
    spaced.into_iter().chain(quoted).min()
}

/// Where what stands behind a key such as `password:` or `X-Auth-Token=` begins.
fn secret_key(chars: &[char]) -> Option<usize> {
    let mut word = String::new();
    for (index, c) in chars.iter().enumerate() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') {
            word.extend(c.to_lowercase());
        } else if matches!(c, ':' | '=') && SECRET_WORDS.iter().any(|secret| word.contains(secret)) {
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
    fn user_info_queries_and_secret_keys_are_masked() {
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
    fn the_caret_moves_with_the_text() {
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
