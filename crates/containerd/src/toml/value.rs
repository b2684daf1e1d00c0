//! The values of a TOML file, each with the byte range it came from.

use super::Fault;
use indexmap::IndexMap;
use std::ops::Range;
use toml_edit::{Document, Item};

/// A table: keys in the order of the file.
pub type Table = IndexMap<String, Value>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// The file it came from, an index into the files of the document that holds it; 0 in a file by itself.
    pub file: usize,
    /// Its bytes in that file: for a table its header, or its key where it has none.
    pub span: Range<usize>,
}

/// What a value is. Numbers and dates matter to this crate only by their type.
#[derive(Clone, Debug)]
pub enum Kind {
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

impl Kind {
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
            (Kind::String(one), Kind::String(two)) | (Kind::Datetime(one), Kind::Datetime(two)) => one == two,
            (Kind::Integer(one), Kind::Integer(two)) => one == two,
            (Kind::Float(one), Kind::Float(two)) => one.to_bits() == two.to_bits(),
            (Kind::Boolean(one), Kind::Boolean(two)) => one == two,
            (Kind::Array(one), Kind::Array(two)) => one == two,
            (Kind::Table(one), Kind::Table(two)) => one == two,
            _ => false,
        }
    }
}

impl Value {
    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn set_file(&mut self, file: usize) {
        self.file = file;
        match &mut self.kind {
            Kind::Array(values) => values.iter_mut().for_each(|value| value.set_file(file)),
            Kind::Table(table) => table.values_mut().for_each(|value| value.set_file(file)),
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
            (Kind::Table(table), span)
        }
        Item::ArrayOfTables(tables) => {
            let element = |one: &toml_edit::Table| {
                let span = one.span().unwrap_or_else(|| key.clone());
                Value {
                    kind: Kind::Table(table(one, span.clone())),
                    file: 0,
                    span,
                }
            };
            (Kind::Array(tables.iter().map(element).collect()), own)
        }
    };
    Some(Value { kind, file: 0, span })
}

fn of_value(value: &toml_edit::Value, key: &Range<usize>) -> Value {
    use toml_edit::Value as Parsed;
    let span = value.span().unwrap_or_else(|| key.clone());
    let kind = match value {
        Parsed::String(text) => Kind::String(text.value().clone()),
        Parsed::Integer(number) => Kind::Integer(*number.value()),
        Parsed::Float(number) => Kind::Float(*number.value()),
        Parsed::Boolean(flag) => Kind::Boolean(*flag.value()),
        Parsed::Datetime(date) => Kind::Datetime(date.value().to_string()),
        Parsed::Array(values) => Kind::Array(values.iter().map(|value| of_value(value, key)).collect()),
        Parsed::InlineTable(inner) => Kind::Table(table(inner, span.clone())),
    };
    Value { kind, file: 0, span }
}
