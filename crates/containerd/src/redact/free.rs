//! Redacts text without structure: URLs, comments, the output of programs.

use crate::redact::secrets::{MASK, NAMES};

/// Returns `text` without the user-info and queries of URLs, and without bearer and basic tokens.
pub fn text(text: &str) -> String {
    schemes(&urls(text))
}

/// Redacts a string of a configuration: as [`text`] does, and also the value in `PASSWORD=…`.
pub(super) fn string(line: &str) -> String {
    match assigned(line, 0) {
        Some(at) => format!("{}{MASK}", text(&line[..at])),
        None => text(line),
    }
}

/// Redacts a line of a comment: the text after a word that indicates a secret, and text that looks like a secret.
pub(super) fn comment(line: &str) -> String {
    let masked = match secret_start(line) {
        Some(at) => format!("{}{MASK}", text(&line[..at])),
        None => text(line),
    };
    blobs(&masked)
}

/// Removes the lines of private keys in PEM.
pub(super) fn without_keys(text: &str) -> String {
    const BEGIN: &str = "PRIVATE KEY-----";
    if !text.contains(BEGIN) {
        return text.to_owned();
    }
    let (mut out, mut inside) = (String::with_capacity(text.len()), false);
    for line in text.split_inclusive('\n') {
        let end = line.find("-----END");
        let begin = line
            .find(BEGIN)
            .filter(|at| end.is_none_or(|end| *at < end))
            .map(|at| at + BEGIN.len());
        let hidden = match (begin, inside) {
            (Some(begin), _) => begin..end.unwrap_or(line.trim_end().len()),
            (None, true) => {
                let prefix = line.len() - line.trim_start_matches(['#', ' ', '\t']).len();
                prefix..end.unwrap_or(line.trim_end().len())
            }
            (None, false) => 0..0,
        };
        inside = end.is_none() && (inside || begin.is_some());
        match hidden {
            hidden if hidden.start < hidden.end => {
                out.extend([&line[..hidden.start], MASK, &line[hidden.end..]]);
            }
            _ => out.push_str(line),
        }
    }
    out
}

/// Removes user-info and queries of URLs.
fn urls(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let len = url
            .find(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ','))
            .unwrap_or(url.len());
        let (mut url, after) = url.split_at(len);
        // A password may contain an unescaped slash, so the user-info ends at the last `@`. The `@` of a digest does not end
        // a user-info.
        let is_digest = |at: usize| url[at..].starts_with("@sha256:") || url[at..].starts_with("@sha512:");
        if let Some(at) = url.rfind('@').filter(|at| !is_digest(*at)) {
            out.push_str(MASK);
            url = &url[at..];
        }
        match url.split_once('?') {
            // `?ns=docker.io` is the only query that Mirrorshift needs to show.
            Some((path, query)) if !query.is_empty() && !is_namespace(query) => out.extend([path, "?", MASK]),
            _ => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_namespace(query: &str) -> bool {
    query
        .strip_prefix("ns=")
        .is_some_and(|registry| !registry.contains('&'))
}

/// Removes the token after `Bearer` and `Basic`, and JSON web tokens anywhere.
fn schemes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_scheme = false;
    for word in text.split_inclusive([' ', '\t', '"', '\'']) {
        let bare = word.trim_end_matches([' ', '\t', '"', '\'']);
        let token = bare.len() >= 8 && after_scheme || bare.starts_with("eyJ") && bare.len() >= 20;
        if token {
            out.extend([MASK, &word[bare.len()..]]);
        } else {
            out.push_str(word);
        }
        if !bare.is_empty() {
            after_scheme = bare.eq_ignore_ascii_case("bearer") || bare.eq_ignore_ascii_case("basic");
        }
    }
    out
}

/// Words that a secret follows even in prose.
const STRONG: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "identitytoken",
    "registrytoken",
    "authorization",
];
/// Words that a secret follows only after `=` or `:`.
const WEAK: &[&str] = &["auth", "pass", "pw", "creds", "credentials"];

/// Returns the offset of a secret in a comment.
fn secret_start(line: &str) -> Option<usize> {
    words(line).find_map(|(start, end)| {
        let word = line[start..end].to_ascii_lowercase();
        let rest = &line[end..];
        let separator = || rest.find(['=', ':']).map(|at| end + at + 1);
        let at = if STRONG.iter().any(|known| word.contains(known)) {
            // "password hunter2", "password is hunter2", "password = hunter2".
            separator()
                .filter(|at| line[end..*at].trim_matches([' ', '\t', '"', '\'', '=', ':']).is_empty())
                .unwrap_or(end)
        } else if WEAK.contains(&word.as_str()) || NAMES.iter().any(|name| word.contains(name)) {
            let next = rest.split_whitespace().next().unwrap_or_default();
            let bare = || next.contains(|c: char| c.is_ascii_digit()).then_some(end);
            separator().or_else(bare)?
        } else {
            return None;
        };
        let secret = line[at..].trim_start();
        let at = line.len() - secret.len();
        secret.contains(|c: char| c.is_alphanumeric()).then_some(at)
    })
}

/// Returns the offset of the value of `TOKEN=…` in a string.
fn assigned(line: &str, from: usize) -> Option<usize> {
    words(&line[from..]).find_map(|(start, end)| {
        let word = line[from + start..from + end].to_ascii_lowercase();
        let secret = WEAK.contains(&word.as_str()) || NAMES.iter().any(|name| word.contains(name));
        let rest = &line[from + end..];
        (secret && rest.starts_with(['=', ':']) && rest.len() > 1 && !rest.starts_with("://")).then_some(from + end + 1)
    })
}

fn words(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].find(word)?;
        let len = line[start..].find(|c: char| !word(c)).unwrap_or(line.len() - start);
        at = start + len;
        Some((start, at))
    })
}

/// Removes Base64 from a comment: padded text, or long text that mixes cases and digits.
fn blobs(line: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '=');
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find(part) {
        let len = rest[start..].find(|c: char| !part(c)).unwrap_or(rest.len() - start);
        let blob = &rest[start..start + len];
        let has = |test: fn(&u8) -> bool| blob.bytes().any(|byte| test(&byte));
        let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        let padded = blob.ends_with('=') && len >= 12 && !blob[..len - 2].contains('=');
        out.push_str(&rest[..start]);
        out.push_str(if padded || mixed && len >= 16 { MASK } else { blob });
        rest = &rest[start + len..];
    }
    out.push_str(rest);
    out
}
