//! The expressions of a TOML file in order, with their byte ranges. An edit replaces such ranges.
//!
//! With values only, an edit would also change the text between them. Releases with go-toml v2 also find the hosts of a
//! hosts.toml only by its headers, in their order.

use crate::toml::fault::Fault;
use std::ops::Range;
use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

/// The deepest nesting of arrays and inline tables that is accepted; the limit of `toml_edit`.
const DEEPEST_VALUE: u32 = 80;
/// The largest number of parts of a key. containerd's own keys need eight, and the tree is walked recursively.
const LONGEST_KEY: usize = 64;

/// A file's expressions.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The expressions in the order of the file.
    pub expressions: Vec<Expression>,
    /// The locations of newlines and trailing commas in inline tables, which only TOML 1.1 allows.
    pub(super) newer: Vec<(Range<usize>, &'static str)>,
}

/// A header, assignment or comment.
#[derive(Clone, Debug)]
pub enum Expression {
    /// `[a.b]` or `[[a.b]]`.
    Header(Header),
    /// `a.b = value`, outside inline tables.
    Assignment(Assignment),
    /// `# …` to the end of its line, on a separate line or after another expression.
    Comment(Range<usize>),
}

/// A table header.
#[derive(Clone, Debug)]
pub struct Header {
    /// The decoded parts of the key.
    pub path: Vec<String>,
    /// The range from the first to the last bracket.
    pub span: Range<usize>,
    /// True if it starts an element of an array of tables.
    pub array: bool,
    /// The range of each part of the key, with its quotes.
    pub parts: Vec<Range<usize>>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The index of its header, or `None` at the top of the file.
    pub header: Option<usize>,
    /// The decoded parts of its key, without those of the header.
    pub key: Vec<String>,
    /// The range of each of these parts, with its quotes.
    pub parts: Vec<Range<usize>>,
    /// The range of the value.
    pub value: Range<usize>,
}

pub(super) fn read(text: &str) -> Result<Layout, Fault> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut errors: Vec<ParseError> = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    parse_document(
        &tokens,
        &mut RecursionGuard::new(&mut events, DEEPEST_VALUE),
        &mut errors,
    );
    if let Some(error) = errors.first() {
        let span = error.unexpected().or_else(|| error.context()).map_or(0..0, range);
        return Err(Fault {
            message: error.description().to_owned(),
            span,
        });
    }
    let mut reader = LayoutReader {
        source,
        layout: Layout::default(),
        header: None,
        open: Vec::new(),
        key: Key::default(),
        last: None,
        value: None,
    };
    for event in &events {
        reader.take(event)?;
    }
    reader.close_value();
    Ok(reader.layout)
}

fn range(span: Span) -> Range<usize> {
    span.start()..span.end()
}

#[derive(Default)]
struct Key {
    path: Vec<String>,
    spans: Vec<Range<usize>>,
}

struct LayoutReader<'t> {
    source: Source<'t>,
    layout: Layout,
    /// The current header.
    header: Option<usize>,
    /// The arrays and inline tables that contain the current event.
    open: Vec<EventKind>,
    key: Key,
    /// The previous event other than whitespace.
    last: Option<EventKind>,
    value: Option<(Key, Range<usize>)>,
}

impl LayoutReader<'_> {
    fn take(&mut self, event: &Event) -> Result<(), Fault> {
        let span = range(event.span());
        let in_value = !self.open.is_empty();
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.close_value();
                self.header = None;
                self.key = Key::default();
                self.layout.expressions.push(Expression::Header(Header {
                    path: Vec::new(),
                    span,
                    array: event.kind() == EventKind::ArrayTableOpen,
                    parts: Vec::new(),
                }));
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                let at = self.layout.expressions.len() - 1;
                if let Some(Expression::Header(header)) = self.layout.expressions.last_mut() {
                    let key = std::mem::take(&mut self.key);
                    header.path = key.path;
                    header.parts = key.spans;
                    header.span.end = span.end;
                    self.header = Some(at);
                }
            }
            EventKind::SimpleKey if !in_value => {
                self.close_value();
                self.add_key_part(event, span)?;
            }
            EventKind::KeyValSep if !in_value => {
                let key = std::mem::take(&mut self.key);
                self.value = Some((key, span.end..span.end));
            }
            EventKind::Scalar => self.grow_value(span),
            EventKind::ArrayOpen | EventKind::InlineTableOpen => {
                self.grow_value(span);
                self.open.push(event.kind());
            }
            EventKind::ArrayClose | EventKind::InlineTableClose => {
                if self.last == Some(EventKind::ValueSep) && event.kind() == EventKind::InlineTableClose {
                    self.layout
                        .newer
                        .push((span.clone(), "a trailing comma in an inline table"));
                }
                self.grow_value(span);
                self.open.pop();
            }
            EventKind::Newline | EventKind::Comment if self.open.last() == Some(&EventKind::InlineTableOpen) => {
                self.layout.newer.push((span, "a newline in an inline table"));
            }
            EventKind::Newline if !in_value => self.close_value(),
            EventKind::Comment if !in_value => {
                self.close_value();
                self.layout.expressions.push(Expression::Comment(span));
            }
            _ => {}
        }
        if event.kind() != EventKind::Whitespace {
            self.last = Some(event.kind());
        }
        Ok(())
    }

    fn add_key_part(&mut self, event: &Event, span: Range<usize>) -> Result<(), Fault> {
        if self.key.path.len() >= LONGEST_KEY {
            return Err(Fault {
                message: format!("a key of more than {LONGEST_KEY} parts"),
                span,
            });
        }
        let mut part = String::new();
        if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut part, &mut ());
        }
        self.key.path.push(part);
        self.key.spans.push(span);
        Ok(())
    }

    fn grow_value(&mut self, span: Range<usize>) {
        if let Some((_, value)) = &mut self.value {
            if value.start == value.end {
                value.start = span.start;
            }
            value.end = span.end;
        }
    }

    fn close_value(&mut self) {
        if let Some((key, value)) = self.value.take() {
            let assignment = Assignment {
                header: self.header,
                key: key.path,
                parts: key.spans,
                value,
            };
            self.layout.expressions.push(Expression::Assignment(assignment));
        }
    }
}

impl Layout {
    /// Returns the header at this index of [`Layout::expressions`].
    pub fn header(&self, index: usize) -> Option<&Header> {
        match self.expressions.get(index) {
            Some(Expression::Header(header)) => Some(header),
            _ => None,
        }
    }

    /// Iterates over the headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.expressions.iter().filter_map(|expression| match expression {
            Expression::Header(header) => Some(header),
            _ => None,
        })
    }

    /// Returns the full path of an assignment: that of its header and its key.
    pub fn path_of(&self, assignment: &Assignment) -> Vec<String> {
        let header = assignment.header.and_then(|index| self.header(index));
        let mut path = header.map(|header| header.path.clone()).unwrap_or_default();
        path.extend(assignment.key.iter().cloned());
        path
    }
}

/// Returns true if a scalar or key of this encoding may contain escapes.
pub(super) fn has_escapes(encoding: Option<Encoding>) -> bool {
    matches!(encoding, Some(Encoding::BasicString | Encoding::MlBasicString))
}

/// Returns the range and encoding of every scalar and key of `text`, and whether it is a scalar.
pub(super) fn atoms(text: &str) -> Vec<(Range<usize>, Option<Encoding>, bool)> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut events: Vec<Event> = Vec::new();
    parse_document(&tokens, &mut RecursionGuard::new(&mut events, DEEPEST_VALUE), &mut ());
    let atoms = events
        .iter()
        .filter(|event| matches!(event.kind(), EventKind::Scalar | EventKind::SimpleKey));
    atoms
        .map(|event| (range(event.span()), event.encoding(), event.kind() == EventKind::Scalar))
        .collect()
}
