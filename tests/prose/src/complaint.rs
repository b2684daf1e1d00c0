//! A violation of a rule of the house.

use std::fmt;

/// A violation of a rule, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    /// The row of the table of words, or the rule again.
    pub(crate) name: String,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Words,
    Openings,
    TypeNames,
    TestNames,
    Circles,
    Exceptions,
}

impl Rule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Openings => "openings",
            Self::TypeNames => "type names",
            Self::TestNames => "test names",
            Self::Circles => "circles",
            Self::Exceptions => "exceptions",
        }
    }
}

impl Complaint {
    pub(crate) fn new(path: &str, line: usize, rule: Rule, message: String) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            name: rule.name().to_owned(),
            message,
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.name, self.message)
    }
}
