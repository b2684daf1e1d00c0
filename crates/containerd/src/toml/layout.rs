//! The expressions of a TOML file in their order, with byte ranges: what an edit cuts at.
//!
//! Values alone cannot be edited without touching the bytes between them, and releases with go-toml v2 see only headers,
//! in their order, when they look for the hosts of a hosts.toml.

use crate::toml::Fault;
use std::ops::Range;
use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

/// Arrays and inline tables deeper than this are refused, as `toml_edit` does.
const DEEPEST_VALUE: u32 = 80;
/// Keys of more parts than this are refused: containerd's own need eight, and a tree of them is walked recursively.
const LONGEST_KEY: usize = 64;

/// A file's expressions.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// In the order of the file.
    pub expressions: Vec<Expression>,
    /// Inline tables with a newline or trailing comma, which only TOML 1.1 allows: where.
    pub(super) newer: Vec<(Range<usize>, &'static str)>,
}

/// One header, assignment or comment.
#[derive(Clone, Debug)]
pub enum Expression {
    /// `[a.b]` or `[[a.b]]`.
    Header(Header),
    /// `a.b = value`, outside inline tables.
    Assignment(Assignment),
    /// `# …` to the end of its line; on a line of its own or behind another expression.
    Comment(Range<usize>),
}

/// A table header.
#[derive(Clone, Debug)]
pub struct Header {
    /// The decoded parts of the key.
    pub path: Vec<String>,
    /// From the first bracket to the last.
    pub span: Range<usize>,
    /// Whether it opens an element of an array of tables.
    pub array: bool,
    /// Each part of the key as written, quotes included.
    pub parts: Vec<Range<usize>>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Index of the header that it stands below, or `None` at the top of the file.
    pub header: Option<usize>,
    /// The decoded parts of its own key.
    pub key: Vec<String>,
    /// Each part of its own key as written, quotes included.
    pub parts: Vec<Range<usize>>,
    /// The value as written.
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
    /// The header in force.
    header: Option<usize>,
    /// What encloses the present event inside a value.
    open: Vec<EventKind>,
    key: Key,
    /// The event before, whitespace left out.
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
    /// The header at this index of [`Layout::expressions`].
    pub fn header(&self, index: usize) -> Option<&Header> {
        match self.expressions.get(index) {
            Some(Expression::Header(header)) => Some(header),
            _ => None,
        }
    }

    /// Headers in order.
    pub fn headers(&self) -> impl Iterator<Item = &Header> {
        self.expressions.iter().filter_map(|expression| match expression {
            Expression::Header(header) => Some(header),
            _ => None,
        })
    }

    /// The whole path of an assignment: its header's and its own.
    pub fn path_of(&self, assignment: &Assignment) -> Vec<String> {
        let header = assignment.header.and_then(|index| self.header(index));
        let mut path = header.map(|header| header.path.clone()).unwrap_or_default();
        path.extend(assignment.key.iter().cloned());
        path
    }
}

/// Whether a scalar or key of this encoding may hold escapes.
pub(super) fn has_escapes(encoding: Option<Encoding>) -> bool {
    matches!(encoding, Some(Encoding::BasicString | Encoding::MlBasicString))
}

/// Every scalar and key of `text` with its encoding.
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
