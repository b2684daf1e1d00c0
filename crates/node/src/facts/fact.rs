//! A value that may be unavailable. An unavailable fact must not silently become a default, and must not make the other
//! facts unavailable.

use crate::error_text::error_chain;

use serde::Serialize;

/// An observed value, or the reason why it is unavailable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// The observed value.
    #[serde(rename = "known")]
    Value(T),
    /// The reason why the value could not be observed. A decision must assume the worst possible value.
    #[serde(rename = "unknown")]
    Unavailable(String),
}

impl<T> Fact<T> {
    /// Returns the value if it is available.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unavailable(_) => None,
        }
    }

    /// Converts the value, and keeps the reason if it is unavailable.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Value(value) => Fact::Value(make(value)),
            Self::Unavailable(why) => Fact::Unavailable(why),
        }
    }

    /// Borrows the value, like [`Option::as_ref`]. The reason is copied.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Value(value) => Fact::Value(value),
            Self::Unavailable(why) => Fact::Unavailable(why.clone()),
        }
    }

    /// Converts the value into another fact, and keeps the reason if it is unavailable.
    pub fn and_then<U>(self, make: impl FnOnce(T) -> Fact<U>) -> Fact<U> {
        match self {
            Self::Value(value) => make(value),
            Self::Unavailable(why) => Fact::Unavailable(why),
        }
    }

    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable(why.into())
    }
}

impl<T, E: std::error::Error> From<Result<T, E>> for Fact<T> {
    /// Takes the error with all its sources as the reason, in one line.
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) => Self::Unavailable(error_chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fact_of_an_error_has_its_chain_as_the_reason() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::from_raw_os_error(13));
        let fact: Fact<()> = Err(error).into();
        assert_eq!(fact, Fact::unavailable("cannot connect: Permission denied"));
    }

    #[test]
    fn fact_is_known_or_unknown_in_json() {
        let json = serde_json::to_string(&[Fact::Value(1), Fact::unavailable("why")]).unwrap();
        assert_eq!(json, r#"[{"known":1},{"unknown":"why"}]"#);
    }
}
