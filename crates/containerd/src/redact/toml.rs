//! Redacts TOML by its punctuation only, so that text that no parser accepts (a commented-out table, half a line) is masked
//! too.

use crate::redact::free;
use crate::redact::secrets::{MASK, is_secret};

/// Returns `text` with the same lines and `***` for every secret value.
///
/// `loose` is for commented-out text. Prose may look like TOML there, so strings are redacted like comments.
pub(super) fn mask(text: &str, table: &[String], loose: bool) -> String {
    let mut walk = Walk {
        rest: text,
        out: String::with_capacity(text.len()),
        table: table.to_vec(),
        loose,
    };
    while !walk.rest.is_empty() {
        walk.expression();
    }
    walk.out
}

struct Walk<'t> {
    rest: &'t str,
    out: String,
    table: Vec<String>,
    loose: bool,
}

/// The deepest nesting that is parsed. Real files are not deeper; a hostile one would exhaust the stack.
const DEEPEST: usize = 64;

impl<'t> Walk<'t> {
    /// Removes and returns the next `len` bytes.
    fn take(&mut self, len: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    fn keep(&mut self, len: usize) {
        let taken = self.take(len);
        self.out.push_str(taken);
    }

    fn spaces(&mut self, lines: bool) {
        let space = |c: char| matches!(c, ' ' | '\t') || lines && matches!(c, '\n' | '\r');
        self.keep(self.rest.len() - self.rest.trim_start_matches(space).len());
    }

    fn line_len(&self) -> usize {
        let len = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest[..len].trim_end_matches('\r').len()
    }

    /// Redacts the rest of the line as free text.
    fn free_line(&mut self, secret: bool) {
        let line = self.take(self.line_len());
        self.out.push_str(&if secret && !line.trim().is_empty() {
            MASK.to_owned()
        } else {
            free::comment(line)
        });
    }

    fn expression(&mut self) {
        self.spaces(true);
        match self.rest.bytes().next() {
            None => {}
            Some(b'#') => self.comments(),
            Some(b'[') => self.header(),
            Some(_) => match key(self.rest) {
                // Padded base64 looks like a key without a value.
                Some((len, _))
                    if self.loose
                        && self.rest[len..self.line_len()]
                            .trim_start_matches(['=', ' '])
                            .is_empty() =>
                {
                    self.free_line(false);
                }
                Some((len, names)) => {
                    let written = self.take(len);
                    self.out.push_str(&free::text(written));
                    self.spaces(false);
                    let path: Vec<String> = self.table.iter().cloned().chain(names).collect();
                    self.value(&path, 0);
                    self.free_line(false);
                }
                None => self.free_line(false),
            },
        }
    }

    /// Redacts consecutive comment lines as the TOML that they may have been.
    fn comments(&mut self) {
        let (mut prefixes, mut bodies, mut len) = (Vec::new(), Vec::new(), 0);
        for line in self.rest.split_inclusive('\n') {
            let body = line.trim_start_matches([' ', '\t']);
            if !body.starts_with('#') {
                break;
            }
            let body = body.trim_start_matches(['#', ' ', '\t']);
            prefixes.push(&line[..line.len() - body.len()]);
            bodies.push(body.trim_end_matches(['\n', '\r']));
            len += line.len();
        }
        let block = self.take(len);
        let masked = mask(&bodies.join("\n"), &self.table, true);
        let ends = block
            .split_inclusive('\n')
            .map(|line| &line[line.trim_end_matches(['\n', '\r']).len()..]);
        for ((prefix, body), end) in prefixes.iter().zip(masked.split('\n')).zip(ends) {
            self.out.extend([prefix, body, end]);
        }
    }

    fn header(&mut self) {
        let open = self.rest.len() - self.rest.trim_start_matches('[').len();
        let Some((len, names)) = path(&self.rest[open..]) else {
            self.free_line(false);
            return;
        };
        self.table = names;
        let written = self.take(open + len);
        self.out.push_str(&free::text(written));
        let close = self.rest.len() - self.rest.trim_start_matches(']').len();
        self.keep(close);
        self.free_line(false);
    }

    fn value(&mut self, path: &[String], depth: usize) {
        let secret = is_secret(path);
        let first = self.rest.bytes().next();
        for fence in ["\"\"\"", "'''"] {
            if self.rest.starts_with(fence) {
                match self.rest[3..].find(fence) {
                    Some(len) => return self.string(3, len, secret),
                    None => return self.free_line(secret),
                }
            }
        }
        match first {
            _ if depth > DEEPEST => {
                let rest = self.take(self.rest.len());
                let masked = rest.split('\n').map(|line| if line.is_empty() { "" } else { MASK });
                let masked = masked.collect::<Vec<_>>().join("\n");
                self.out.push_str(&masked);
            }
            Some(b'"') => match closing_quote(self.rest) {
                Some(at) => self.string(1, at - 1, secret),
                None => self.free_line(secret),
            },
            Some(b'\'') => match self.rest[1..self.line_len().max(1)].find('\'') {
                Some(len) => self.string(1, len, secret),
                None => self.free_line(secret),
            },
            Some(b'[') => self.items(b']', path, depth),
            Some(b'{') => self.items(b'}', path, depth),
            _ => {
                let line = &self.rest[..self.line_len()];
                let bare = line.find([',', ']', '}', '#']).unwrap_or(line.len());
                // Trims only what `spaces` consumes. Other white space would never be consumed, and the loop would not end.
                let bare = line[..bare].trim_end_matches([' ', '\t', '\r']).len();
                let written = self.take(bare);
                self.out.push_str(&match (secret && !written.is_empty(), self.loose) {
                    (true, _) => MASK.to_owned(),
                    (false, true) => free::comment(written),
                    (false, false) => free::text(written),
                });
            }
        }
    }

    /// Redacts a string of `len` bytes between two fences of `fence` bytes.
    fn string(&mut self, fence: usize, len: usize, secret: bool) {
        self.keep(fence);
        let content = self.take(len);
        let masked = content.split('\n').map(|line| {
            let end = if line.ends_with('\r') { "\r" } else { "" };
            let line = line.trim_end_matches('\r');
            let shown = match (secret && !line.is_empty(), self.loose) {
                (true, _) => MASK.to_owned(),
                (false, true) => free::comment(line),
                (false, false) => free::string(line),
            };
            format!("{shown}{end}")
        });
        let masked = masked.collect::<Vec<_>>().join("\n");
        self.out.push_str(&masked);
        self.keep(fence.min(self.rest.len()));
    }

    /// Redacts the items between brackets or braces.
    fn items(&mut self, close: u8, path: &[String], depth: usize) {
        self.keep(1);
        loop {
            self.spaces(true);
            match self.rest.bytes().next() {
                None => return,
                Some(byte) if byte == close => return self.keep(1),
                Some(b',') => self.keep(1),
                Some(b'#') => self.comments(),
                // A bracket of the other kind is not TOML, so the rest of the line is free text.
                Some(b']' | b'}') => return self.free_line(is_secret(path)),
                Some(_) if close == b'}' => {
                    let Some((len, names)) = key(self.rest) else {
                        return self.free_line(is_secret(path));
                    };
                    let written = self.take(len);
                    self.out.push_str(&free::text(written));
                    self.spaces(false);
                    let path: Vec<String> = path.iter().cloned().chain(names).collect();
                    self.value(&path, depth + 1);
                }
                Some(_) => self.value(path, depth + 1),
            }
        }
    }
}

/// Returns the offset of the quote that ends the string at the start of `text`, if it is on the same line.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Parses a key with its `=`; returns its length and parts.
fn key(text: &str) -> Option<(usize, Vec<String>)> {
    let (len, names) = path(text)?;
    text[len..].starts_with('=').then_some((len + 1, names))
}

/// Parses a dotted key with the blanks after it; returns its length and parts.
fn path(text: &str) -> Option<(usize, Vec<String>)> {
    let (mut at, mut names) = (0, Vec::new());
    loop {
        at += blanks(&text[at..]);
        let rest = &text[at..];
        let len = match rest.bytes().next()? {
            b'"' => closing_quote(rest)? + 1,
            b'\'' => rest[1..].split('\n').next()?.find('\'')? + 2,
            _ => rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
                .unwrap_or(rest.len()),
        };
        if len == 0 {
            return None;
        }
        names.push(rest[..len].trim_matches(['"', '\'']).to_owned());
        at += len;
        at += blanks(&text[at..]);
        if !text[at..].starts_with('.') {
            return Some((at, names));
        }
        at += 1;
    }
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}
