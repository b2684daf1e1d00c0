//! TOML as containerd's releases take it: values with their place, and the lines they stand on.

pub(crate) mod dialect;
pub(crate) mod layout;
pub(crate) mod value;

pub(crate) use crate::toml::dialect::mask;
pub use crate::toml::dialect::{AcceptedBy, SyntaxError};
pub use crate::toml::layout::{Assignment, Expression, Header, Layout};

pub use crate::toml::value::{Table, Value, ValueKind};

use std::ops::Range;

/// A file's text, its expressions and its values, all of one parse.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The text as it stands in the file.
    pub text: String,
    /// Headers, assignments and comments in the order of the file, each with its byte range.
    pub layout: Layout,
    /// Its values.
    pub root: Table,
}

/// Reads `bytes` as the releases with go-toml v1 (`one`) or v2 read them.
///
/// # Errors
///
/// What these releases refuse, and what only TOML 1.1 or only go-toml v1 allows: nobody can edit such a file and stay sure
/// of what every reader makes of it.
pub fn parse(bytes: &[u8], one: bool) -> Result<Parsed, Box<SyntaxError>> {
    let text = dialect::text(bytes, one)?;
    let layout = layout::read(text).map_err(|fault| dialect::explain(text, fault))?;
    dialect::check(text, &layout, one)?;
    let root = value::read(text).map_err(|fault| dialect::explain(text, fault))?;
    Ok(Parsed {
        text: text.to_owned(),
        layout,
        root,
    })
}

/// What a parser complains of, before it is put in an operator's words.
struct Fault {
    message: String,
    span: Range<usize>,
}

/// The line, from 1, on which the byte at `offset` stands.
pub fn line_at(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}
