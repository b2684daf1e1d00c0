//! Finds the tests in a Rust file, so that the rest of it is product code.

use crate::lexer::{Token, TokenKind};
use std::ops::Range;

/// Returns the ranges of tokens of the items that are compiled for tests only, each with its attributes.
pub(crate) fn test_ranges(tokens: &[Token<'_>]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute_end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        if is_test_attribute(&tokens[at..attribute_end]) {
            let end = item_end(tokens, attribute_end);
            ranges.push(at..end);
            at = end;
        } else {
            at = attribute_end;
        }
    }
    ranges
}

/// Returns the tokens that are not in one of `ranges`.
pub(crate) fn without<'a>(tokens: &[Token<'a>], ranges: &[Range<usize>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut from = 0;
    for range in ranges {
        kept.extend_from_slice(&tokens[from..range.start]);
        from = range.end;
    }
    kept.extend_from_slice(&tokens[from..]);
    kept
}

/// Returns the index behind the attribute that begins at `at`.
fn attribute_end(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let is_attribute = tokens[at].is_punctuation("#") && tokens.get(at + 1)?.is_punctuation("[");
    is_attribute.then(|| group_end(tokens, at + 1))
}

/// `#[test]`, `#[cfg(test)]` and `#[cfg(all(test, …))]`. What `any` of a test and a feature enables is product code.
fn is_test_attribute(attribute: &[Token<'_>]) -> bool {
    let names: Vec<&str> = attribute
        .iter()
        .filter(|token| token.kind == TokenKind::Identifier)
        .map(|token| token.text)
        .collect();
    match names.as_slice() {
        ["test"] | ["tokio", "test", ..] => true,
        ["cfg", rest @ ..] => rest.contains(&"test") && !rest.contains(&"any") && !rest.contains(&"not"),
        _ => false,
    }
}

/// Returns the index behind the item, statement or field that begins at `at`.
fn item_end(tokens: &[Token<'_>], mut at: usize) -> usize {
    while at < tokens.len() {
        match attribute_end(tokens, at) {
            Some(end) => at = end,
            None => break,
        }
    }
    // A block ends a function or a module, but not `use a::{b, c};` or a field.
    let is_closed_by_block = tokens[at..]
        .iter()
        .take(8)
        .find_map(|token| match token.text {
            "fn" | "mod" | "struct" | "enum" | "impl" | "trait" | "union" | "macro_rules" => Some(true),
            "use" | "static" | "type" | "let" => Some(false),
            _ => None,
        })
        .unwrap_or(false);
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "," if !is_closed_by_block => return at + 1,
            "}" => return at,
            "{" | "(" | "[" => {
                let is_block = tokens[at].text == "{";
                at = group_end(tokens, at);
                if is_block && is_closed_by_block {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Returns the index behind the bracket that closes the group at `at`.
pub(crate) fn group_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.kind != TokenKind::Punctuation {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    fn product(source: &str) -> String {
        let tokens = lex(source).tokens;
        let kept = without(&tokens, &test_ranges(&tokens));
        kept.iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn items_for_tests_are_removed() {
        assert_eq!(
            product("mod a; #[cfg(test)] mod tests { fn a() {} } mod b;"),
            "mod a ; mod b ;"
        );
        assert_eq!(product("#[cfg(test)] use a::{b, c}; use d;"), "use d ;");
        assert_eq!(
            product("#[cfg(all(test, unix))] #[path = \"a.rs\"] mod t; fn a() {}"),
            "fn a ( ) { }"
        );
        assert_eq!(
            product("#[test] fn a() -> [u8; 2] { [1, 2] } fn b() {}"),
            "fn b ( ) { }"
        );
        assert_eq!(product("struct A { #[cfg(test)] a: B<C>, b: D }"), "struct A { b : D }");
    }

    #[test]
    fn items_for_tests_and_a_feature_remain() {
        let source = "#[cfg(any(test, feature = \"a\"))] mod a;";
        assert!(product(source).ends_with("mod a ;"));
        assert!(product("#[cfg(not(test))] mod a;").ends_with("mod a ;"));
    }
}
