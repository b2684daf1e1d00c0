//! A fact that could not be had is neither a default nor an error that hides the others.

use serde::Serialize;

/// What is known, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// Observed.
    #[serde(rename = "known")]
    Value(T),
    /// Not observed, for this reason. Whoever decides must take it as the worse of what it could be.
    #[serde(rename = "unknown")]
    Unavailable(String),
}

impl<T> Fact<T> {
    /// The value, when there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unavailable(_) => None,
        }
    }

    /// Something else made of the value; the reason stays.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Value(value) => Fact::Value(make(value)),
            Self::Unavailable(why) => Fact::Unavailable(why),
        }
    }

    /// As [`Option::as_ref`]; the reason is copied.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Value(value) => Fact::Value(value),
            Self::Unavailable(why) => Fact::Unavailable(why.clone()),
        }
    }

    /// The same, or for the same reason unknown.
    pub fn and_then<U>(self, make: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Self::Value(value) => make(value),
            Self::Unavailable(why) => Fact::Unavailable(why),
        }
    }

    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }
}

impl<T, E: std::error::Error> From<Result<T, E>> for Fact<T> {
    /// The reason is the error with all that caused it, as one line.
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) => Self::Unavailable(chain(&error)),
        }
    }
}

/// An error and its causes, with colons between.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = plain(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat their source in their own text.
        let next = plain(error);
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// An error's text without the number that the standard library adds.
fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, number)) if number.ends_with(')') => words.to_owned(),
        _ => text,
    }
}

/// What another program said, without the user-info of URLs: containerd's messages may quote its configuration.
pub(crate) fn describe(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url
            .find(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '<' | '>' | ','))
            .unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        match url.rfind('@') {
            Some(at) => out.extend(["***", &url[at..]]),
            None => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot ask")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::from_raw_os_error(13));
        let known: Fact<()> = Err(error).into();
        assert_eq!(known, Fact::unknown("cannot ask: Permission denied"));
    }

    #[test]
    fn user_info_of_urls_is_not_repeated() {
        assert_eq!(
            describe("cannot parse `https://me:secret@host/v2`"),
            "cannot parse `https://***@host/v2`"
        );
        assert_eq!(describe("a://u:p@h and b://u:p/q@h, c"), "a://***@h and b://***@h, c");
        assert_eq!(describe("nothing @ here http://host"), "nothing @ here http://host");
    }

    #[test]
    fn known_and_unknown_are_told_apart_in_json() {
        let json = serde_json::to_string(&[Fact::Value(1), Fact::unknown("why")]).unwrap();
        assert_eq!(json, r#"[{"known":1},{"unknown":"why"}]"#);
    }
}
