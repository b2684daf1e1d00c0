//! Redacts URLs and keys that an operator wrote: removes user-info and query, which may contain a password.

/// Returns `written` without its user-info and query, at most 200 characters.
///
/// Either may contain a password or token. A password may contain `/` or `?`, so everything before the last `@` is
/// removed, even if the `@` is in a query.
pub fn written_url(written: &str) -> String {
    let (scheme, rest) = match written.find("://") {
        Some(at) => written.split_at(at + 3),
        None => ("", written),
    };
    // The text before `://` is not a scheme if it contains a part of the user-info.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_printed_without_user_info_and_query() {
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
            assert_eq!(written_url(written), shown);
        }
        assert_eq!(written_url(&"a".repeat(900)).len(), 200);
    }
}
