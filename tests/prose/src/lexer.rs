//! Splits Rust source text into tokens and comments, each with its line.
//!
//! A lexer is enough here: comments are not part of a syntax tree, and paths, types and functions are short sequences of
//! tokens. Text that is not valid Rust gives some tokens and no error.

/// The tokens and the comments of one file, both in the order of the file.
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
}

/// A token of Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An identifier or a keyword.
    Identifier,
    /// A string; the token's text has neither the quotes nor the prefix.
    Text,
    /// A string in which a backslash has no meaning.
    RawText,
    /// A number, a character or a lifetime.
    Other,
    /// One character of punctuation.
    Punctuation,
}

/// A comment, without its marker. A block comment is one comment, each line of the other kinds is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comment<'a> {
    pub(crate) marker: CommentMarker,
    pub(crate) text: &'a str,
    pub(crate) line: usize,
    /// True if code precedes the comment in its line.
    pub(crate) is_after_code: bool,
    /// The number of tokens in front of the comment.
    pub(crate) token_index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommentMarker {
    /// `//`
    Plain,
    /// `///`
    Doc,
    /// `//!`
    InnerDoc,
    /// `/* */`
    Block,
}

impl CommentMarker {
    pub(crate) fn is_doc(self) -> bool {
        matches!(self, Self::Doc | Self::InnerDoc)
    }
}

impl Token<'_> {
    pub(crate) fn is_identifier(&self, text: &str) -> bool {
        self.kind == TokenKind::Identifier && self.text == text
    }

    pub(crate) fn is_punctuation(&self, text: &str) -> bool {
        self.kind == TokenKind::Punctuation && self.text == text
    }
}

/// Returns the tokens and comments of `text`.
pub(crate) fn lex(text: &str) -> Lexed<'_> {
    let mut lexer = Lexer {
        text,
        position: 0,
        line: 1,
        last_code_line: 0,
        lexed: Lexed {
            tokens: Vec::new(),
            comments: Vec::new(),
        },
    };
    while lexer.position < text.len() {
        lexer.step();
    }
    lexer.lexed
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    line: usize,
    /// The line in which the last token ended.
    last_code_line: usize,
    lexed: Lexed<'a>,
}

impl<'a> Lexer<'a> {
    fn byte(&self, offset: usize) -> u8 {
        self.text.as_bytes().get(self.position + offset).copied().unwrap_or(0)
    }

    fn step(&mut self) {
        match self.byte(0) {
            b'\n' => {
                self.line += 1;
                self.position += 1;
            }
            byte if byte.is_ascii_whitespace() => self.position += 1,
            b'/' if self.byte(1) == b'/' => self.line_comment(),
            b'/' if self.byte(1) == b'*' => self.block_comment(),
            b'"' => self.text_token(0),
            b'\'' => self.character_or_lifetime(),
            byte if byte.is_ascii_digit() => self.number(),
            byte if is_name(byte) => self.name(),
            _ => {
                let length = self.text[self.position..].chars().next().map_or(1, char::len_utf8);
                self.push(TokenKind::Punctuation, self.position, self.position + length);
                self.position += length;
            }
        }
    }

    /// Adds a token that begins in the current line; the caller moves on.
    fn push(&mut self, kind: TokenKind, from: usize, to: usize) {
        self.lexed.tokens.push(Token {
            kind,
            text: &self.text[from..to],
            line: self.line,
        });
        self.last_code_line = self.line;
    }

    fn line_comment(&mut self) {
        let rest = &self.text[self.position..];
        let whole = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let (marker, length) = match whole.as_bytes() {
            [b'/', b'/', b'/', b'/', ..] => (CommentMarker::Plain, 2),
            [b'/', b'/', b'/', ..] => (CommentMarker::Doc, 3),
            [b'/', b'/', b'!', ..] => (CommentMarker::InnerDoc, 3),
            _ => (CommentMarker::Plain, 2),
        };
        self.push_comment(marker, &whole[length..]);
        self.position += whole.len();
    }

    fn block_comment(&mut self) {
        let start = self.position;
        let mut depth = 0;
        let mut end = start;
        let bytes = self.text.as_bytes();
        while end < bytes.len() {
            if bytes[end..].starts_with(b"/*") {
                depth += 1;
                end += 2;
            } else if bytes[end..].starts_with(b"*/") {
                depth -= 1;
                end += 2;
                if depth == 0 {
                    break;
                }
            } else {
                end += 1;
            }
        }
        let whole = &self.text[start..end];
        self.push_comment(
            CommentMarker::Block,
            whole.trim_start_matches("/*").trim_end_matches("*/"),
        );
        self.line += whole.matches('\n').count();
        self.position = end;
    }

    fn push_comment(&mut self, marker: CommentMarker, text: &'a str) {
        self.lexed.comments.push(Comment {
            marker,
            text,
            line: self.line,
            is_after_code: self.last_code_line == self.line,
            token_index: self.lexed.tokens.len(),
        });
    }

    /// A string whose opening quote is `prefix` bytes ahead.
    fn text_token(&mut self, prefix: usize) {
        let start = self.position + prefix + 1;
        let bytes = self.text.as_bytes();
        let mut end = start;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        self.push_text(TokenKind::Text, start, end.min(bytes.len()), 1);
    }

    fn raw_text(&mut self, prefix: usize, hashes: usize) {
        let start = self.position + prefix + hashes + 1;
        let closing = format!("\"{}", "#".repeat(hashes));
        let end = self.text[start..]
            .find(&closing)
            .map_or(self.text.len(), |length| start + length);
        self.push_text(TokenKind::RawText, start, end, closing.len());
    }

    fn push_text(&mut self, kind: TokenKind, start: usize, end: usize, closing: usize) {
        self.push(kind, start, end);
        self.line += self.text[start..end].matches('\n').count();
        self.last_code_line = self.line;
        self.position = (end + closing).min(self.text.len());
    }

    fn character_or_lifetime(&mut self) {
        let start = self.position;
        let rest = &self.text[start + 1..];
        let length = if rest.starts_with('\\') {
            // The character behind the backslash may be a quote itself.
            rest.get(2..)
                .and_then(|tail| tail.find('\''))
                .map_or(rest.len(), |tail| tail + 3)
        } else {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            if rest[first..].starts_with('\'') {
                first + 1
            } else {
                rest.bytes().take_while(|byte| is_name(*byte)).count()
            }
        };
        let end = start + 1 + length;
        self.push(TokenKind::Other, start, end);
        self.position = end;
    }

    fn number(&mut self) {
        let start = self.position;
        while is_name(self.byte(0)) || self.byte(0) == b'.' && self.byte(1).is_ascii_digit() {
            self.position += 1;
        }
        self.push(TokenKind::Other, start, self.position);
    }

    fn name(&mut self) {
        let start = self.position;
        let length = self.text[start..].bytes().take_while(|byte| is_name(*byte)).count();
        let name = &self.text[start..start + length];
        let hashes = self.text[start + length..]
            .bytes()
            .take_while(|byte| *byte == b'#')
            .count();
        match name {
            "r" | "br" | "cr" if self.byte(length + hashes) == b'"' => self.raw_text(length, hashes),
            "b" | "c" if self.byte(length) == b'"' => self.text_token(length),
            "b" if self.byte(length) == b'\'' => {
                self.position += 1;
                self.character_or_lifetime();
            }
            // A raw identifier: the tokens `#` and the name do no harm, but its `r` would be a name.
            "r" if hashes == 1 && is_name(self.byte(2)) => self.position += 2,
            _ => {
                self.push(TokenKind::Identifier, start, start + length);
                self.position += length;
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        lex(source).tokens.iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_have_their_marker_and_line() {
        let lexed = lex("//! Crate.\n/// Item.\nfn a() {} // Behind.\n//// Plain.\n/* Two\nlines */\n");
        let found: Vec<_> = lexed
            .comments
            .iter()
            .map(|comment| (comment.marker, comment.line, comment.is_after_code))
            .collect();
        assert_eq!(
            found,
            [
                (CommentMarker::InnerDoc, 1, false),
                (CommentMarker::Doc, 2, false),
                (CommentMarker::Plain, 3, true),
                (CommentMarker::Plain, 4, false),
                (CommentMarker::Block, 5, false),
            ]
        );
    }

    #[test]
    fn slashes_in_strings_are_not_comments() {
        let lexed = lex("let a = \"http://a\"; let b = r#\"// \"b\" \"#; let c = '\\''; let d = '\"'; // End.");
        assert_eq!(lexed.comments.len(), 1);
        let strings: Vec<_> = lexed
            .tokens
            .iter()
            .filter(|token| matches!(token.kind, TokenKind::Text | TokenKind::RawText))
            .map(|token| token.text)
            .collect();
        assert_eq!(strings, ["http://a", "// \"b\" "]);
    }

    #[test]
    fn lifetimes_and_raw_identifiers_do_not_swallow_text() {
        assert_eq!(texts("&'a str"), ["&", "'a", "str"]);
        assert_eq!(texts("r#type + b'x' + 1.5"), ["type", "+", "'x'", "+", "1.5"]);
        assert_eq!(texts("0..n"), ["0", ".", ".", "n"]);
    }

    #[test]
    fn lines_are_counted_in_strings_of_several_lines() {
        let lexed = lex("\"a\nb\" c");
        assert_eq!(lexed.tokens[1].line, 2);
    }
}
