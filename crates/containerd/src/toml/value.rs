//! The values of a TOML file, each with the byte range it came from.

use crate::toml::Fault;
use indexmap::IndexMap;
use std::ops::Range;
use toml_edit::{Document, Item};

/// A table: keys in the order of the file.
pub type Table = IndexMap<String, Value>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// The file it came from, an index into the files of the document that holds it; 0 in a file by itself.
    pub file: usize,
    /// Its bytes in that file: for a table its header, or its key where it has none.
    pub span: Range<usize>,
}

/// What a value is. Numbers and dates matter to this crate only by their type.
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
    /// A table, however it is spelled.
    Table(Table),
}

impl ValueKind {
    /// The type's name in TOML.
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
    /// Compares content: place and order of keys say nothing about meaning.
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (ValueKind::String(one), ValueKind::String(two)) | (ValueKind::Datetime(one), ValueKind::Datetime(two)) => {
                one == two
            }
            (ValueKind::Integer(one), ValueKind::Integer(two)) => one == two,
            (ValueKind::Float(one), ValueKind::Float(two)) => one.to_bits() == two.to_bits(),
            (ValueKind::Boolean(one), ValueKind::Boolean(two)) => one == two,
            (ValueKind::Array(one), ValueKind::Array(two)) => one == two,
            (ValueKind::Table(one), ValueKind::Table(two)) => one == two,
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
            // A table that only its children's headers name has no span of its own: its first child's tells the place.
            let table = table(inner, key.clone());
            let first = table.values().next().map(|value| value.span.clone());
            let span = if inner.is_implicit() { first.unwrap_or(own) } else { own };
            (ValueKind::Table(table), span)
        }
        Item::ArrayOfTables(tables) => {
            let element = |one: &toml_edit::Table| {
                let span = one.span().unwrap_or_else(|| key.clone());
                Value {
                    kind: ValueKind::Table(table(one, span.clone())),
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
