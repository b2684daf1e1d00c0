//! The table of words: which phrases are not written, and the words to write instead.
//!
//! The table is `words.toml`. A pattern there is a sequence of elements with blanks between them, and each element is
//! about one word:
//!
//! | element | matches |
//! | --- | --- |
//! | `a\|b` | one of the words, in any case |
//! | `!a\|b` | any other word |
//! | `*` | any word |
//! | `<code>` | quoted code, a path, a flag or a placeholder |
//! | `<number>` | a number |
//! | `<noun>`, `<nouns>` | a word that can be a noun in the singular, in the plural |
//! | `<end>` | punctuation, or the end of the paragraph; it is not part of the match |
//! | `a?` | the element, or nothing |
//! | `?=a`, `?!a` | the next word is, is not one of these; it is not part of the match |
//! | `?<=a`, `?<!a` | the same of the previous word |
//!
//! Where a pattern of the row's `except` matches at the same word, the row does not apply. A match never crosses punctuation, because punctuation is a word for a pattern.

use crate::prose::{Word, WordKind};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    word: Vec<WordRule>,
}

/// A row of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WordRule {
    /// The word or phrase, as an exception and the summary name it.
    pub(crate) name: String,
    /// The words to write instead.
    pub(crate) write: String,
    patterns: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    /// Sentences with the phrase, for the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests read it"))]
    catches: Vec<String>,
    /// Sentences in which the same words are right, for the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests read it"))]
    passes: Vec<String>,
}

/// The table with its patterns, ready to search.
pub(crate) struct WordTable {
    pub(crate) rules: Vec<WordRule>,
    patterns: Vec<Pattern>,
    exceptions: Vec<Pattern>,
    /// The patterns that can begin with a word.
    by_first_word: HashMap<String, Vec<usize>>,
    /// The patterns that can begin with many words.
    others: Vec<usize>,
}

struct Pattern {
    rule: usize,
    elements: Vec<Element>,
}

struct Element {
    mode: Mode,
    is_optional: bool,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Take,
    TakeOther,
    Next,
    NotNext,
    Previous,
    NotPrevious,
}

enum Alternative {
    Literal(String),
    Any,
    Code,
    Number,
    Noun,
    Nouns,
    End,
}

/// A phrase of the table in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occurrence {
    /// The row of the table.
    pub(crate) rule: usize,
    /// The index of the first word.
    pub(crate) start: usize,
    /// The index behind the last word.
    pub(crate) end: usize,
}

impl WordTable {
    /// Returns the table of the project.
    pub(crate) fn load() -> Result<Self, toml::de::Error> {
        Self::parse(include_str!("../words.toml"))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let file: TableFile = toml::from_str(text)?;
        let mut table = Self {
            rules: file.word,
            patterns: Vec::new(),
            exceptions: Vec::new(),
            by_first_word: HashMap::new(),
            others: Vec::new(),
        };
        for (rule, row) in table.rules.iter().enumerate() {
            let exceptions = row.except.iter().map(|text| Pattern::parse(rule, text));
            table.exceptions.extend(exceptions);
            for text in &row.patterns {
                let pattern = Pattern::parse(rule, text);
                let index = table.patterns.len();
                match pattern.first_words() {
                    Some(words) => {
                        for word in words {
                            table.by_first_word.entry(word.to_owned()).or_default().push(index);
                        }
                    }
                    None => table.others.push(index),
                }
                table.patterns.push(pattern);
            }
        }
        Ok(table)
    }

    /// Returns the phrases in a paragraph, in order. The first of two that overlap wins, and the longer
    /// if both begin at one word.
    pub(crate) fn occurrences(&self, words: &[Word]) -> Vec<Occurrence> {
        let mut found = Vec::new();
        for (start, word) in words.iter().enumerate() {
            let own = self.by_first_word.get(&word.key).into_iter().flatten();
            let longest = own
                .chain(&self.others)
                .filter_map(|index| {
                    let pattern = &self.patterns[*index];
                    let end = matched(&pattern.elements, words, start)?;
                    let rule = pattern.rule;
                    let is_excepted = self.is_excepted(rule, words, start);
                    (!is_excepted).then_some(Occurrence { rule, start, end })
                })
                .max_by_key(|occurrence| occurrence.end);
            found.extend(longest);
        }
        let mut end = 0;
        found.retain(|occurrence| {
            let is_first = occurrence.start >= end;
            if is_first {
                end = occurrence.end;
            }
            is_first
        });
        found
    }
}

impl WordTable {
    fn is_excepted(&self, rule: usize, words: &[Word], start: usize) -> bool {
        let mut own = self.exceptions.iter().filter(|pattern| pattern.rule == rule);
        own.any(|pattern| matched(&pattern.elements, words, start).is_some())
    }
}

impl Pattern {
    fn parse(rule: usize, text: &str) -> Self {
        Self {
            rule,
            elements: text.split_whitespace().map(Element::parse).collect(),
        }
    }

    /// Returns the words that the pattern can begin with; nothing when there are too many to list.
    fn first_words(&self) -> Option<Vec<&str>> {
        let first = self
            .elements
            .iter()
            .find(|element| matches!(element.mode, Mode::Take | Mode::TakeOther))?;
        if first.mode != Mode::Take || first.is_optional {
            return None;
        }
        let mut words = Vec::new();
        for alternative in &first.alternatives {
            match alternative {
                Alternative::Literal(word) => words.push(word.as_str()),
                _ => return None,
            }
        }
        Some(words)
    }
}

impl Element {
    fn parse(text: &str) -> Self {
        let modes = [
            ("?<=", Mode::Previous),
            ("?<!", Mode::NotPrevious),
            ("?=", Mode::Next),
            ("?!", Mode::NotNext),
            ("!", Mode::TakeOther),
        ];
        let prefixed = modes
            .iter()
            .find_map(|(prefix, mode)| Some((text.strip_prefix(prefix)?, *mode)));
        let (text, mode) = prefixed.unwrap_or((text, Mode::Take));
        let optional = text.strip_suffix('?');
        let alternatives = optional.unwrap_or(text).split('|').map(|word| match word {
            "*" => Alternative::Any,
            "<code>" => Alternative::Code,
            "<number>" => Alternative::Number,
            "<noun>" => Alternative::Noun,
            "<nouns>" => Alternative::Nouns,
            "<end>" => Alternative::End,
            word => Alternative::Literal(word.to_owned()),
        });
        Self {
            mode,
            is_optional: optional.is_some(),
            alternatives: alternatives.collect(),
        }
    }

    fn is_one_of(&self, word: Option<&Word>) -> bool {
        self.alternatives.iter().any(|alternative| alternative.is(word))
    }
}

impl Alternative {
    fn is(&self, word: Option<&Word>) -> bool {
        let Some(word) = word else {
            return matches!(self, Self::End);
        };
        match self {
            Self::Literal(text) => word.key == *text,
            Self::Any => !word.is_punctuation(),
            Self::Code => word.kind == WordKind::Code,
            // `1.7` is a version.
            Self::Number => {
                word.kind == WordKind::Number && word.key.chars().all(|letter| letter.is_ascii_digit() || letter == ',')
            }
            Self::Noun => is_noun(word) && (!word.key.ends_with('s') || word.key.ends_with("ss")),
            Self::Nouns => is_noun(word) && word.key.ends_with('s') && !word.key.ends_with("ss"),
            Self::End => word.is_punctuation(),
        }
    }
}

/// Words that are not nouns although they are where a noun could be.
const NOT_NOUNS: [&str; 65] = [
    "a", "after", "again", "all", "also", "an", "and", "are", "as", "at", "be", "because", "been", "before", "behind",
    "both", "but", "by", "can", "cannot", "could", "did", "do", "does", "each", "for", "from", "had", "has", "have",
    "if", "in", "into", "is", "it", "its", "less", "like", "many", "may", "more", "must", "no", "not", "of", "on",
    "only", "or", "out", "over", "per", "so", "such", "than", "that", "the", "then", "to", "under", "was", "were",
    "when", "which", "with", "without",
];

fn is_noun(word: &Word) -> bool {
    word.kind == WordKind::Plain && !NOT_NOUNS.contains(&word.key.as_str())
}

/// Returns the end of the match of `elements` at `at`.
fn matched(elements: &[Element], words: &[Word], at: usize) -> Option<usize> {
    let Some((element, rest)) = elements.split_first() else {
        return Some(at);
    };
    let next = words.get(at);
    let previous = at.checked_sub(1).and_then(|before| words.get(before));
    let is_taken = match element.mode {
        Mode::Take => element.is_one_of(next),
        Mode::TakeOther => next.is_some_and(|word| !word.is_punctuation()) && !element.is_one_of(next),
        Mode::Next | Mode::NotNext => {
            let is_wanted = element.is_one_of(next) == (element.mode == Mode::Next);
            return is_wanted.then(|| matched(rest, words, at)).flatten();
        }
        Mode::Previous | Mode::NotPrevious => {
            let is_wanted = element.is_one_of(previous) == (element.mode == Mode::Previous);
            return is_wanted.then(|| matched(rest, words, at)).flatten();
        }
    };
    let is_end = |alternative: &Alternative| matches!(alternative, Alternative::End);
    if is_taken && element.alternatives.iter().any(is_end) && next.is_none_or(Word::is_punctuation) {
        return matched(rest, words, at);
    }
    let taken = is_taken.then(|| matched(rest, words, at + 1)).flatten();
    taken.or_else(|| element.is_optional.then(|| matched(rest, words, at)).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prose;

    fn found(table: &WordTable, sentence: &str) -> Vec<String> {
        let words = prose::words(&[(1, sentence)], false);
        let occurrences = table.occurrences(&words).into_iter();
        occurrences
            .map(|occurrence| table.rules[occurrence.rule].name.clone())
            .collect()
    }

    #[test]
    fn every_sentence_to_catch_is_caught_by_its_row() {
        let table = WordTable::load().unwrap();
        for rule in &table.rules {
            assert!(!rule.catches.is_empty(), "{}", rule.name);
            for sentence in &rule.catches {
                let names = found(&table, sentence);
                assert!(names.contains(&rule.name), "{}: {sentence}: {names:?}", rule.name);
            }
        }
    }

    #[test]
    fn every_sentence_to_pass_passes_its_row() {
        let table = WordTable::load().unwrap();
        for rule in &table.rules {
            assert!(!rule.passes.is_empty(), "{}", rule.name);
            for sentence in &rule.passes {
                let names = found(&table, sentence);
                assert!(!names.contains(&rule.name), "{}: {sentence}: {names:?}", rule.name);
            }
        }
    }

    #[test]
    fn every_pattern_catches_a_sentence() {
        let table = WordTable::load().unwrap();
        for pattern in &table.patterns {
            let rule = &table.rules[pattern.rule];
            let is_matched = rule.catches.iter().any(|sentence| {
                let words = prose::words(&[(1, sentence)], false);
                (0..words.len()).any(|at| matched(&pattern.elements, &words, at).is_some())
            });
            let index = table.patterns.iter().position(|other| std::ptr::eq(other, pattern));
            assert!(is_matched, "{}: pattern {index:?} of {:?}", rule.name, rule.patterns);
        }
    }

    #[test]
    fn elements_match_as_described() {
        let matches = |pattern: &str, text: &str| {
            let words = prose::words(&[(1, text)], false);
            let pattern = Pattern::parse(0, pattern);
            (0..words.len()).any(|at| matched(&pattern.elements, &words, at).is_some())
        };
        assert!(matches("a|b c", "B c"));
        assert!(matches("a !b", "a c") && !matches("a !b", "a b") && !matches("a !b", "a."));
        assert!(matches("a * b", "a x b") && !matches("a * b", "a, b"));
        assert!(matches("below <code>", "below /etc") && !matches("below <code>", "below it"));
        assert!(matches("<number> a", "5 a") && !matches("<number> a", "five a"));
        assert!(matches("one <noun>", "one file") && !matches("one <noun>", "one files"));
        assert!(matches("two <nouns>", "two files") && !matches("two <nouns>", "two is"));
        assert!(matches("a ?=<end>", "a.") && matches("a ?=<end>", "a") && !matches("a ?=<end>", "a b"));
        assert!(matches("a b? c", "a c") && matches("a b? c", "a b c"));
        assert!(matches("a ?!b", "a") && !matches("a ?!b", "a b"));
        assert!(matches("?<=a b", "a b") && !matches("?<=a b", "b"));
        assert!(matches("?<!a b", "b") && !matches("?<!a b", "a b"));
    }

    #[test]
    fn longer_phrase_wins_over_a_word_in_it() {
        let table = WordTable::load().unwrap();
        assert_eq!(found(&table, "The version cannot be told."), ["cannot be told"]);
    }
}
