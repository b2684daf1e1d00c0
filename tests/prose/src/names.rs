//! Names of types and functions in Rust code.

use crate::lexer::{Token, TokenKind};
use crate::product::group_end;
use std::collections::BTreeMap;

/// A name and the line of its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition<'a> {
    pub(crate) name: &'a str,
    pub(crate) line: usize,
}

/// Returns the types that begin with `pub` in any form.
pub(crate) fn public_types<'a>(tokens: &[Token<'a>]) -> Vec<Definition<'a>> {
    public_definitions(tokens, &["struct", "enum", "trait", "type", "union"])
}

/// Returns the functions that begin with `pub` in any form.
pub(crate) fn public_functions<'a>(tokens: &[Token<'a>]) -> Vec<Definition<'a>> {
    public_definitions(tokens, &["fn"])
}

fn public_definitions<'a>(tokens: &[Token<'a>], keywords: &[&str]) -> Vec<Definition<'a>> {
    let mut found = Vec::new();
    for (at, _) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_identifier("pub"))
    {
        let mut next = at + 1;
        if tokens.get(next).is_some_and(|token| token.is_punctuation("(")) {
            next = group_end(tokens, next);
        }
        let is_qualifier = |token: &Token<'_>| {
            ["const", "async", "unsafe", "extern"].contains(&token.text) || token.kind == TokenKind::Text
        };
        while tokens.get(next).is_some_and(is_qualifier) {
            next += 1;
        }
        let Some([keyword, name]) = tokens.get(next..next + 2) else {
            continue;
        };
        // `pub const fn` is a function, `pub const NAME` and a field are neither.
        if keywords.contains(&keyword.text) && name.kind == TokenKind::Identifier {
            found.push(Definition {
                name: name.text,
                line: name.line,
            });
        }
    }
    found
}

/// Returns all functions.
pub(crate) fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Definition<'a>> {
    let pairs = tokens.windows(2);
    pairs
        .filter(|pair| pair[0].is_identifier("fn") && pair[1].kind == TokenKind::Identifier)
        .map(|pair| Definition {
            name: pair[1].text,
            line: pair[1].line,
        })
        .collect()
}

/// Returns true if a type name is one word: it has one capital letter.
pub(crate) fn is_one_word_type(name: &str) -> bool {
    name.chars().filter(|letter| letter.is_uppercase()).count() <= 1
}

/// Returns true if a function name is one word: it has no underscore.
pub(crate) fn is_one_word_function(name: &str) -> bool {
    !name.contains('_')
}

/// Returns the persons word in the name of a test.
pub(crate) fn persons_word(name: &str) -> Option<&str> {
    const PERSONS: [&str; 11] = [
        "who", "whoever", "whom", "whose", "nobody", "somebody", "anybody", "someone", "told", "tells", "tell",
    ];
    name.split('_').find(|part| PERSONS.contains(part))
}

/// Returns the names that occur more than once, each with its places in order.
pub(crate) fn repeated<'a, P>(places: impl IntoIterator<Item = (&'a str, P)>) -> BTreeMap<&'a str, Vec<P>> {
    let mut by_name: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for (name, place) in places {
        by_name.entry(name).or_default().push(place);
    }
    by_name.retain(|_, places| places.len() > 1);
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    #[test]
    fn public_definitions_are_found_in_every_form() {
        let source = "pub struct A; pub(crate) enum B {} pub(in crate::a) trait C {} pub type D = u8; struct E; \
            pub unsafe trait F {} pub const G: u8 = 1; pub const fn h() {} pub(super) async fn i() {} pub union J {} \
            pub unsafe extern \"C\" fn k() {} pub struct L { pub type_name: u8 }";
        let tokens = lex(source).tokens;
        let types: Vec<_> = public_types(&tokens).iter().map(|definition| definition.name).collect();
        let functions: Vec<_> = public_functions(&tokens)
            .iter()
            .map(|definition| definition.name)
            .collect();
        assert_eq!(types, ["A", "B", "C", "D", "F", "J", "L"]);
        assert_eq!(functions, ["h", "i", "k"]);
    }

    #[test]
    fn one_word_names_have_one_capital_or_no_underscore() {
        assert!(is_one_word_type("Plan") && !is_one_word_type("ChangePlan"));
        assert!(is_one_word_function("plan") && !is_one_word_function("change_plan"));
    }

    #[test]
    fn persons_words_are_whole_words_of_a_name() {
        assert_eq!(persons_word("nobody_is_told"), Some("nobody"));
        assert_eq!(persons_word("event_is_retried_as_a_whole"), None);
    }

    #[test]
    fn repeated_names_have_their_places() {
        let found = repeated([("A", 1), ("B", 2), ("A", 3)]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("A", vec![1, 3])]);
    }
}
