//! What may be shown of a URL or key that an operator wrote: never user-info, never a query.

/// `written` without its user-info and query, either of which may hold a password or token, at most 200 characters.
///
/// A password may hold `/` or `?`, so all before the last `@` goes, and so does a query that holds one.
pub(super) fn url(written: &str) -> String {
    let (scheme, rest) = match written.find("://") {
        Some(at) => written.split_at(at + 3),
        None => ("", written),
    };
    // What stands before `://` is no scheme when it holds a part of the user-info itself.
    let is_scheme = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let scheme = if is_scheme(scheme.trim_end_matches("://")) {
        scheme
    } else {
        ""
    };
    let shown = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}"),
        None => written.to_owned(),
    };
    let (shown, query) = match shown.find('?') {
        Some(at) => (shown[..at].to_owned(), "?…"),
        None => (shown, ""),
    };
    let short: String = shown.chars().take(200).collect();
    format!("{short}{query}")
}

/// `words` as prose: `a`, `a and b`, `a, b and c`; when there are more than `most`, the rest as a number.
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

/// Each in backticks.
pub(super) fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> Vec<String> {
    words.into_iter().map(|word| format!("`{}`", url(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        for (written, shown) in [
            ("https://h:5000/v2", "https://h:5000/v2"),
            ("https://user:hunter2@h/v2", "https://…@h/v2"),
            ("https://user:hun/ter2@h", "https://…@h"),
            ("https://user:hun@ter2@h", "https://…@h"),
            ("https://user:hun?ter2@h", "https://…@h"),
            ("user:hunter2@h", "…@h"),
            ("user:hun://ter2@h", "…@h"),
            ("https://h/v2?token=hunter2#x", "https://h/v2?…"),
            ("plain", "plain"),
        ] {
            assert_eq!(url(written), shown);
        }
        assert_eq!(url(&"a".repeat(900)).len(), 200);
    }

    #[test]
    fn lists_read_as_prose() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(list(&words, 9), "a, b and c");
        assert_eq!(list(&words, 1), "a and 2 more");
        assert_eq!(list(&words[..1], 9), "a");
        assert_eq!(list(&[], 9), "");
    }
}
