//! Comments between the items of an array, which the layout of a file does not list.

use crate::edit::result::RemovedText;
use mirrorshift_containerd::toml::line_at;
use std::ops::Range;

/// Returns the comments in one value of `text`, which belongs to `table`.
pub(super) fn comments_in_value(text: &str, value: &Range<usize>, table: &[String]) -> Vec<RemovedText> {
    let mut found = Vec::new();
    let mut at = value.start;
    while let Some(rest) = text.get(at..value.end).filter(|rest| !rest.is_empty()) {
        let comment = rest.starts_with('#').then(|| rest.lines().next().unwrap_or_default());
        if let Some(comment) = comment {
            found.push(RemovedText {
                line: line_at(text, at),
                table: table.to_vec(),
                text: comment.to_owned(),
            });
        }
        at += comment.map_or_else(|| token_len(rest), str::len);
    }
    found
}

/// Returns the length of the first token of `rest`: a whole string, or one character.
fn token_len(rest: &str) -> usize {
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| rest.starts_with(quote))
    else {
        return rest.chars().next().map_or(1, char::len_utf8);
    };
    let escapes = quote.starts_with('"');
    let mut at = quote.len();
    while let Some(c) = rest[at..].chars().next() {
        if rest[at..].starts_with(quote) {
            return at + quote.len();
        }
        at += c.len_utf8();
        if escapes && c == '\\' {
            at += rest[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_in_a_string_is_not_a_comment() {
        let text = r#"[ # one
  "a # b", "\" # c", 'd\', # two
  """e " # f""", '''g ' # h''', "",#three
]"#;
        let found = comments_in_value(text, &(0..text.len()), &["t".to_owned()]);
        let found: Vec<_> = found
            .iter()
            .map(|removed| (removed.line, removed.text.as_str()))
            .collect();
        assert_eq!(found, [(1, "# one"), (2, "# two"), (3, "#three")]);
    }
}
