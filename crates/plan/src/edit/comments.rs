//! Comments between the items of an array, which are no lines of their own to the layout of a file.

use crate::edit::RemovedText;
use mirrorshift_containerd::toml::line_at;
use std::ops::Range;

/// The comments inside of one value of `text`, which stands in `table`.
pub(super) fn inside(text: &str, value: &Range<usize>, table: &[String]) -> Vec<RemovedText> {
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
        at += comment.map_or_else(|| token(rest), str::len);
    }
    found
}

/// The length of what `rest` starts with: a whole string, or one character.
fn token(rest: &str) -> usize {
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
    fn a_hash_in_a_string_is_no_comment() {
        let text = r#"[ # one
  "a # b", "\" # c", 'd\', # two
  """e " # f""", '''g ' # h''', "",#three
]"#;
        let found = inside(text, &(0..text.len()), &["t".to_owned()]);
        let found: Vec<_> = found.iter().map(|gone| (gone.line, gone.text.as_str())).collect();
        assert_eq!(found, [(1, "# one"), (2, "# two"), (3, "#three")]);
    }
}
