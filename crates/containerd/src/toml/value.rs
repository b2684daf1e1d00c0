//! The values of a TOML file, each with its byte range.

use crate::toml::fault::Fault;
use indexmap::IndexMap;
use std::ops::Range;
use toml_edit::{Document, Item};

/// A table: keys in the order of the file.
pub type Table = IndexMap<String, Value>;

/// A value with its location.
#[derive(Clone, Debug)]
pub struct Value {
    /// The type and content.
    pub kind: ValueKind,
    /// The index of its file in [`crate::Document::files`]; 0 if the file is parsed separately.
    pub file: usize,
    /// The byte range in that file. For a table it is the header, or the key if there is no header.
    pub span: Range<usize>,
}

/// The type and content of a value. This crate uses only the type of numbers and dates.
#[derive(Clone, Debug)]
pub enum ValueKind {
    /// `"…"`.
    String(String),
    /// `1`.
    Integer(i64),
    /// `1.0`.
    Float(f64),
    /// `true`.
    Boolean(bool),
    /// `1979-05-27`, as written.
    Datetime(String),
    /// `[…]`, or an array of tables.
    Array(Vec<Value>),
    /// A table in any notation.
    Table(Table),
}

impl ValueKind {
    /// Returns the name of the type with its article.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl PartialEq for Value {
    /// Compares the content, because location and order of keys do not change the meaning.
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (ValueKind::String(left), ValueKind::String(right))
            | (ValueKind::Datetime(left), ValueKind::Datetime(right)) => left == right,
            (ValueKind::Integer(left), ValueKind::Integer(right)) => left == right,
            (ValueKind::Float(left), ValueKind::Float(right)) => left.to_bits() == right.to_bits(),
            (ValueKind::Boolean(left), ValueKind::Boolean(right)) => left == right,
            (ValueKind::Array(left), ValueKind::Array(right)) => left == right,
            (ValueKind::Table(left), ValueKind::Table(right)) => left == right,
            _ => false,
        }
    }
}

impl Value {
    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            ValueKind::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn set_file(&mut self, file: usize) {
        self.file = file;
        match &mut self.kind {
            ValueKind::Array(values) => values.iter_mut().for_each(|value| value.set_file(file)),
            ValueKind::Table(table) => table.values_mut().for_each(|value| value.set_file(file)),
            _ => {}
        }
    }
}

pub(super) fn read(text: &str) -> Result<Table, Fault> {
    let document = Document::parse(text).map_err(|error| Fault {
        message: error.message().to_owned(),
        span: error.span().unwrap_or(0..0),
    })?;
    Ok(table(document.as_table(), 0..0))
}

fn table(from: &dyn toml_edit::TableLike, near: Range<usize>) -> Table {
    let entry = |(key, item): (&str, &Item)| {
        let key_span = from
            .key(key)
            .and_then(toml_edit::Key::span)
            .unwrap_or_else(|| near.clone());
        Some((key.to_owned(), of_item(item, key_span)?))
    };
    from.iter().filter_map(entry).collect()
}

fn of_item(item: &Item, key: Range<usize>) -> Option<Value> {
    let own = item.span().unwrap_or_else(|| key.clone());
    let (kind, span) = match item {
        Item::None => return None,
        Item::Value(value) => return Some(of_value(value, &key)),
        Item::Table(inner) => {
            // A table that only the headers of its children name has no span. The first child's span is used instead.
            let table = table(inner, key.clone());
            let first = table.values().next().map(|value| value.span.clone());
            let span = if inner.is_implicit() { first.unwrap_or(own) } else { own };
            (ValueKind::Table(table), span)
        }
        Item::ArrayOfTables(tables) => {
            let element = |element: &toml_edit::Table| {
                let span = element.span().unwrap_or_else(|| key.clone());
                Value {
                    kind: ValueKind::Table(table(element, span.clone())),
                    file: 0,
                    span,
                }
            };
            (ValueKind::Array(tables.iter().map(element).collect()), own)
        }
    };
    Some(Value { kind, file: 0, span })
}

fn of_value(value: &toml_edit::Value, key: &Range<usize>) -> Value {
    use toml_edit::Value as Parsed;
    let span = value.span().unwrap_or_else(|| key.clone());
    let kind = match value {
        Parsed::String(text) => ValueKind::String(text.value().clone()),
        Parsed::Integer(number) => ValueKind::Integer(*number.value()),
        Parsed::Float(number) => ValueKind::Float(*number.value()),
        Parsed::Boolean(flag) => ValueKind::Boolean(*flag.value()),
        Parsed::Datetime(date) => ValueKind::Datetime(date.value().to_string()),
        Parsed::Array(values) => ValueKind::Array(values.iter().map(|value| of_value(value, key)).collect()),
        Parsed::InlineTable(inner) => ValueKind::Table(table(inner, span.clone())),
    };
    Value { kind, file: 0, span }
}
