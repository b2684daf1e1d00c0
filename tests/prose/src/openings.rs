//! The first words of comments.

use crate::prose::{Word, WordKind};

/// The words with which the first sentence of a doc comment does not begin.
const EXCLUDED: [&str; 12] = [
    "what", "whether", "where", "who", "whom", "whose", "whoever", "why", "how", "of", "as", "that",
];

/// The pronouns, prepositions and question words that the thermometer counts.
const COUNTED: [&str; 18] = [
    "what", "whether", "where", "who", "whom", "whose", "whoever", "why", "how", "when", "which", "of", "as", "that",
    "it", "its", "they", "one",
];

/// Returns the words that a doc comment must not begin with, if it does.
pub(crate) fn excluded(paragraphs: &[Vec<Word>]) -> Option<String> {
    let mut words = paragraphs.first()?.iter().filter(|word| !word.is_punctuation());
    let first = words.next().filter(|word| word.kind == WordKind::Plain)?;
    if first.key == "the" {
        let second = words.next().filter(|word| word.key == "same")?;
        return Some(format!("{} {}", first.text, second.text));
    }
    EXCLUDED.contains(&first.key.as_str()).then(|| first.text.clone())
}

/// Returns true if a comment begins with a pronoun, a preposition or a question word.
pub(crate) fn is_counted(paragraphs: &[Vec<Word>]) -> bool {
    let mut words = paragraphs.iter().flatten();
    let first = words.find(|word| !word.is_punctuation());
    first.is_some_and(|word| word.kind == WordKind::Plain && COUNTED.contains(&word.key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prose;

    fn paragraphs(text: &str) -> Vec<Vec<Word>> {
        vec![prose::words(&[(1, text)], false)]
    }

    #[test]
    fn excluded_openings_are_caught() {
        for text in [
            "What is left.",
            "Whether it is.",
            "Of a file.",
            "The same of a folder.",
            "**How** it is.",
            "as that",
        ] {
            assert!(excluded(&paragraphs(text)).is_some(), "{text}");
        }
    }

    #[test]
    fn other_openings_pass() {
        for text in [
            "Returns what is left.",
            "The sample.",
            "`What` is a type.",
            "When it ends.",
            "Whatever.",
        ] {
            assert_eq!(excluded(&paragraphs(text)), None, "{text}");
        }
        assert_eq!(excluded(&[]), None);
    }

    #[test]
    fn thermometer_counts_more_openings() {
        assert!(is_counted(&paragraphs("When it ends.")));
        assert!(is_counted(&paragraphs("It ends.")));
        assert!(!is_counted(&paragraphs("Returns it.")));
    }
}
