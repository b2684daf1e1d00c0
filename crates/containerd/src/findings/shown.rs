//! Text of findings: lists and quoted words.

use crate::redact::written_url;

/// Joins `words` as `a`, `a and b` or `a, b and c`, and counts those after the first `most`.
pub(super) fn list(words: &[String], most: usize) -> String {
    let more = words.len().saturating_sub(most);
    let mut named: Vec<String> = words.iter().take(most).cloned().collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Puts each word in backticks.
pub(super) fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    words
        .into_iter()
        .map(|word| format!("`{}`", written_url(word)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_joins_words_and_counts_the_rest() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&words, 9), "a, b and c");
        assert_eq!(list(&words, 1), "a and 2 more");
        assert_eq!(list(&words[..1], 9), "a");
        assert_eq!(list(&[], 9), "");
    }
}
