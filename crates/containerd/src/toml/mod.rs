//! TOML as containerd's releases parse it: values with their locations, and the layout that an edit needs.
//!
//! The modules here do not interpret containerd's settings.

/// The differences between the TOML parsers of the releases.
pub(crate) mod dialect;
/// Errors of a parser, and line numbers.
pub(crate) mod fault;
/// Headers, assignments and comments with their byte ranges.
pub(crate) mod layout;
/// Values with their byte ranges.
pub(crate) mod value;

pub(crate) use crate::toml::dialect::mask;
pub use crate::toml::dialect::{AcceptedBy, SyntaxError};
pub use crate::toml::fault::line_at;
pub use crate::toml::layout::{Assignment, Expression, Header, Layout};

pub use crate::toml::value::{Table, Value, ValueKind};

/// A parsed file: its text, layout and values.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The text of the file.
    pub text: String,
    /// The headers, assignments and comments in the order of the file, each with its byte range.
    pub layout: Layout,
    /// The top-level table.
    pub root: Table,
}

/// Parses `bytes` as the releases with go-toml v1 (if `is_v1`) or v2 do.
///
/// # Errors
///
/// Fails on text that these releases reject, and on text that only TOML 1.1 or only go-toml v1 allows. Such a file cannot
/// be edited safely, because releases read it differently.
pub fn parse(bytes: &[u8], is_v1: bool) -> Result<Parsed, Box<SyntaxError>> {
    let text = dialect::decode_text(bytes, is_v1)?;
    let layout = layout::read(text).map_err(|fault| dialect::explain(text, fault))?;
    dialect::check(text, &layout, is_v1)?;
    let root = value::read(text).map_err(|fault| dialect::explain(text, fault))?;
    Ok(Parsed {
        text: text.to_owned(),
        layout,
        root,
    })
}
