//! Reads YAML into a small tree with the location of every node.
//!
//! Anchors, aliases, tags, directives and further documents are refused, so that a file means what it shows, and its tree is
//! not larger than its text. Depth and number of nodes are bounded, and no function recurses on input.

use crate::policy::error::{PolicyError, ValueError};
use crate::policy::redact;
use crate::policy::source::{LineExcerpt, Source};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, options};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// The greatest depth. A policy is four levels deep; more is a mistake or an attack.
const DEEPEST: usize = 32;
/// The greatest number of nodes, which bounds the tree of the largest text to a few MiB.
const MOST_NODES: usize = 50_000;

pub(super) struct Node<'a> {
    pub(super) value: Value<'a>,
    pub(super) span: Range<usize>,
}

pub(super) enum Value<'a> {
    Scalar { text: Cow<'a, str>, plain: bool },
    List(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>),
}

pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node<'a>,
}

/// The kind of a value for any YAML reader, of YAML 1.1 or 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum YamlKind {
    Nothing,
    Boolean,
    Number,
    Text,
    List,
    Map,
}

impl YamlKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Boolean => "the boolean",
            Self::Number => "the number",
            Self::Text => "the text",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

impl Node<'_> {
    pub(super) fn kind(&self) -> YamlKind {
        match &self.value {
            Value::List(_) => YamlKind::List,
            Value::Map(_) => YamlKind::Map,
            Value::Scalar { plain: false, .. } => YamlKind::Text,
            Value::Scalar { text, plain: true } => plain_kind(text),
        }
    }

    /// Returns the kind for messages, with the value when it is a scalar.
    pub(super) fn describe(&self) -> String {
        match (&self.value, self.kind()) {
            (Value::Scalar { text, .. }, kind) if kind != YamlKind::Nothing => {
                format!("{} `{}`", kind.name(), redact::value(text))
            }
            (_, kind) => kind.name().to_owned(),
        }
    }
}

fn plain_kind(text: &str) -> YamlKind {
    match text.to_ascii_lowercase().as_str() {
        "" | "~" | "null" => YamlKind::Nothing,
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" => YamlKind::Boolean,
        ".inf" | "-.inf" | "+.inf" | ".nan" => YamlKind::Number,
        lower if lower.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            let digits: String = lower.chars().filter(|c| *c != '_').collect();
            let unsigned = digits.trim_start_matches(['+', '-']);
            let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
                .iter()
                .find_map(|(prefix, radix)| Some((unsigned.strip_prefix(prefix)?, *radix)));
            let number = radix.map_or_else(
                || digits.parse::<f64>().is_ok(),
                |(rest, radix)| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)),
            );
            if number { YamlKind::Number } else { YamlKind::Text }
        }
        _ => YamlKind::Text,
    }
}

/// A collection of which the end is not yet read.
struct Open<'a> {
    start: usize,
    items: Items<'a>,
}

enum Items<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<Entry<'a>>,
        seen: HashMap<Cow<'a, str>, usize>,
        key: Option<(Cow<'a, str>, Range<usize>)>,
    },
}

/// Reads the only document of a text. Returns `None` for a text without any value.
pub(super) fn load<'a>(source: &Source<'a>) -> Result<Option<Node<'a>>, PolicyError> {
    let options = options! {
        strict_indentation: true,
        disallow_directives: true,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut open: Vec<Open<'a>> = Vec::new();
    let (mut root, mut documents, mut nodes) = (None, 0, 0);
    for event in Parser::new_from_str_with_options(source.text(), options) {
        let (event, span) = event.map_err(|error| scan_error(source, &error))?;
        let span = span.byte_range().unwrap_or(0..0);
        let refuse = |message: &str, hint: &str| source.error(span.clone(), ValueError::new(message).hint(hint));
        if event.is_alias() || event.anchor_id().is_some() {
            return Err(refuse(
                "anchors and aliases are not allowed in a policy",
                "write the value itself",
            ));
        }
        if event.tag().is_some() {
            return Err(refuse(
                "tags are not allowed in a policy",
                "remove the `!…`; every key has a fixed type",
            ));
        }
        if event.is_node() {
            nodes += 1;
            if nodes > MOST_NODES {
                return Err(refuse(
                    "more than 50000 values",
                    "the policy of a cluster has some dozens",
                ));
            }
        }
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    let hint = "write one policy per file, without a second `---`";
                    return Err(refuse("a second document begins here", hint));
                }
                continue;
            }
            Event::Scalar(text, style, ..) => Node {
                value: Value::Scalar {
                    text,
                    plain: style == ScalarStyle::Plain,
                },
                span,
            },
            Event::SequenceStart(..) => {
                open.push(Open {
                    start: span.start,
                    items: Items::List(Vec::new()),
                });
                continue;
            }
            Event::MappingStart(..) => {
                let items = Items::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                };
                open.push(Open {
                    start: span.start,
                    items,
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open {
                    start,
                    items: Items::List(list),
                }) => Node {
                    value: Value::List(list),
                    span: start..start,
                },
                Some(Open {
                    start,
                    items: Items::Map { entries, .. },
                }) => Node {
                    value: Value::Map(entries),
                    span: start..start,
                },
                None => continue,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.take(node, source)?,
            None => root = Some(node),
        }
    }
    Ok(root.filter(|node| node.kind() != YamlKind::Nothing))
}

impl<'a> Open<'a> {
    /// Adds a complete node to its parent: as an item, as a key, or as the value of the key before it.
    fn take(&mut self, node: Node<'a>, source: &Source<'a>) -> Result<(), PolicyError> {
        match &mut self.items {
            Items::List(list) => list.push(node),
            Items::Map { entries, seen, key } => match (key.take(), node) {
                (
                    None,
                    Node {
                        value: Value::Scalar { text, .. },
                        span,
                    },
                ) => {
                    if let Some(first) = seen.get(&text) {
                        let first = source.line(*first);
                        let shown = redact::value(&text);
                        let error = ValueError::new(format!("the key `{shown}` is already on line {first}"));
                        return Err(source.error_showing(span, error.hint("keep one of them"), LineExcerpt::UpToError));
                    }
                    seen.insert(text.clone(), span.start);
                    *key = Some((text, span));
                }
                (None, node) => {
                    let error = ValueError::new(format!("a key must be a word, found {}", node.describe()));
                    return Err(source.error(node.span, error));
                }
                (Some((key, key_span)), mut value) => {
                    // The parser gives a missing value the location of the next token. Its key is a better location.
                    if value.span.is_empty() && value.kind() == YamlKind::Nothing {
                        value.span = key_span.clone();
                    }
                    entries.push(Entry { key, key_span, value });
                }
            },
        }
        Ok(())
    }
}

fn scan_error(source: &Source<'_>, error: &ScanError) -> PolicyError {
    let at = error.marker().byte_offset().unwrap_or(0);
    let hint = match error.kind() {
        ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
            Some("indent with spaces")
        }
        ErrorKind::RecursionLimitExceeded => Some("a policy is four levels deep"),
        ErrorKind::UnknownAnchor => Some("anchors and aliases are not allowed in a policy: write the value itself"),
        ErrorKind::DirectiveDisallowed => Some("remove lines that begin with `%`"),
        _ => None,
    };
    let message = ValueError::new(format!("not valid YAML: {}", error.info()));
    source.error(
        at..at + 1,
        ValueError {
            hint: hint.map(str::to_owned),
            ..message
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{YamlKind, plain_kind};

    #[test]
    fn plain_word_has_the_kind_that_any_yaml_reader_gives_it() {
        for (kind, words) in [
            (YamlKind::Nothing, &["", "~", "null", "NULL"][..]),
            (YamlKind::Boolean, &["no", "Yes", "on", "OFF", "true", "y"]),
            (
                YamlKind::Number,
                &["0", "-1", "1.5", "1e3", "0x1F", "0o7", "1_000", ".5", "-.inf", ".NaN"],
            ),
            (
                YamlKind::Text,
                &[
                    "20s",
                    "10.0.20.10",
                    "docker.io",
                    "-",
                    "0x",
                    "inf",
                    "nan",
                    "+",
                    "10.0.0.1:5000",
                ],
            ),
        ] {
            for word in words {
                assert_eq!(plain_kind(word), kind, "{word}");
            }
        }
    }
}
