//! Splits prose into paragraphs and words.
//!
//! Quoted code, paths, flags and placeholders become one word of the kind [`WordKind::Code`], so that no rule applies to
//! them and a rule can still see that they are there.

/// A paragraph: its lines in order, each with its number in the file.
pub(crate) type Paragraph<'a> = Vec<(usize, &'a str)>;

/// A word or a mark of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) kind: WordKind,
    /// The word in the text.
    pub(crate) text: String,
    /// In lower case, for comparison. Only the name of the language, `Go`, keeps its capital.
    pub(crate) key: String,
    pub(crate) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    Plain,
    Number,
    Code,
    Punctuation,
}

impl Word {
    fn new(kind: WordKind, text: &str, line: usize) -> Self {
        let key = if text == "Go" {
            text.to_owned()
        } else {
            text.to_lowercase().replace('’', "'")
        };
        Self {
            kind,
            text: text.to_owned(),
            key,
            line,
        }
    }

    pub(crate) fn is_punctuation(&self) -> bool {
        self.kind == WordKind::Punctuation
    }
}

/// Returns the paragraphs of Markdown: without code blocks, except for the output of a console session.
pub(crate) fn markdown<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Paragraph<'a>> {
    let mut paragraphs = vec![Vec::new()];
    let mut code = Vec::new();
    let mut fence: Option<&str> = None;
    let mut is_in_list = false;
    let mut is_after_blank = true;
    for (number, line) in lines {
        let trimmed = line.trim_start();
        let is_fence = trimmed.starts_with("```") || trimmed.starts_with("~~~");
        if let Some(info) = fence {
            if is_fence {
                fence = None;
                end_code(
                    &mut paragraphs,
                    &mut code,
                    matches!(info, "console" | "text" | "output"),
                );
            } else {
                code.push((number, line));
            }
            continue;
        }
        if is_fence {
            end_code(&mut paragraphs, &mut code, false);
            paragraphs.push(Vec::new());
            fence = Some(trimmed.trim_start_matches(['`', '~']).trim());
            continue;
        }
        if trimmed.is_empty() {
            is_after_blank = true;
            if code.is_empty() {
                paragraphs.push(Vec::new());
            }
            continue;
        }
        let is_indented = line.starts_with("    ") || line.starts_with('\t');
        if is_indented && !is_in_list && (is_after_blank || !code.is_empty()) {
            code.push((number, line));
            continue;
        }
        end_code(&mut paragraphs, &mut code, false);
        if starts_item(trimmed) {
            is_in_list = true;
            paragraphs.push(Vec::new());
        } else if trimmed.starts_with('#') {
            paragraphs.push(Vec::new());
        } else if is_after_blank && !line.starts_with(' ') {
            is_in_list = false;
        }
        is_after_blank = false;
        if let Some(last) = paragraphs.last_mut() {
            last.push((number, line));
        }
        if trimmed.starts_with('#') || trimmed.starts_with('|') {
            paragraphs.push(Vec::new());
        }
    }
    end_code(&mut paragraphs, &mut code, false);
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

/// Ends a code block. Where it shows a session (`$ command`) or is named as output, its lines are prose as well.
fn end_code<'a>(paragraphs: &mut Vec<Paragraph<'a>>, code: &mut Paragraph<'a>, is_output: bool) {
    if code.is_empty() {
        return;
    }
    let is_command = |line: &str| line.trim_start().starts_with("$ ");
    let is_session = code.iter().any(|(_, line)| is_command(line));
    if is_output || is_session {
        let output = code.iter().filter(|(_, line)| !is_command(line));
        paragraphs.extend(plain(output.copied()));
    }
    code.clear();
    paragraphs.push(Vec::new());
}

/// Returns the paragraphs of printed text: a blank line, an item of a list and a line at the margin begin a new one.
pub(crate) fn plain<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Vec<Paragraph<'a>> {
    let mut paragraphs = vec![Vec::new()];
    for (number, line) in lines {
        let trimmed = line.trim_start();
        let is_continued = line.starts_with("    ") && !starts_item(trimmed);
        if !is_continued || trimmed.is_empty() {
            paragraphs.push(Vec::new());
        }
        if let Some(last) = paragraphs.last_mut()
            && !trimmed.is_empty()
        {
            last.push((number, line));
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

fn starts_item(line: &str) -> bool {
    let digits = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    ["- ", "* ", "+ ", "! "].iter().any(|marker| line.starts_with(marker))
        || digits.len() < line.len() && digits.starts_with(". ")
}

/// Returns the words of a paragraph. With `has_placeholders`, `{name}` is code: so format strings write a value.
pub(crate) fn words(paragraph: &[(usize, &str)], has_placeholders: bool) -> Vec<Word> {
    let mut scanner = Scanner::default();
    let mut text = String::new();
    for (number, line) in paragraph {
        scanner.starts.push((text.len(), *number));
        text.push_str(line);
        text.push('\n');
    }
    while scanner.position < text.len() {
        let rest = &text[scanner.position..];
        let length = scanner.step(rest, has_placeholders);
        scanner.position += length.max(1);
        while !text.is_char_boundary(scanner.position) {
            scanner.position += 1;
        }
    }
    scanner.words
}

#[derive(Default)]
struct Scanner {
    /// The start of each line in the text, and its number.
    starts: Vec<(usize, usize)>,
    position: usize,
    words: Vec<Word>,
}

impl Scanner {
    fn push(&mut self, kind: WordKind, text: &str) {
        let index = self.starts.partition_point(|(start, _)| *start <= self.position);
        let line = self
            .starts
            .get(index.saturating_sub(1))
            .map_or(0, |(_, number)| *number);
        self.words.push(Word::new(kind, text, line));
    }

    /// Adds the word at the start of `rest`, and returns the length of what it read.
    fn step(&mut self, rest: &str, has_placeholders: bool) -> usize {
        let mut letters = rest.chars();
        let first = letters.next().unwrap_or(' ');
        let second = letters.next().unwrap_or(' ');
        match first {
            '`' => self.code_span(rest),
            '{' if has_placeholders && second != '{' => self.until(rest, '}'),
            '<' if second.is_ascii_alphabetic() => self.until(rest, '>'),
            ']' if second == '(' => rest.find(')').map_or(1, |end| end + 1),
            '-' if second == '-' => self.chunk(rest),
            '/' if second.is_alphanumeric() => self.chunk(rest),
            '*' | '_' | '"' | '\'' | '’' | '“' | '”' => 1,
            letter if letter.is_alphanumeric() => self.word(rest),
            letter if letter.is_whitespace() => letter.len_utf8(),
            letter => {
                self.push(WordKind::Punctuation, &rest[..letter.len_utf8()]);
                letter.len_utf8()
            }
        }
    }

    fn code_span(&mut self, rest: &str) -> usize {
        let ticks = rest.bytes().take_while(|byte| *byte == b'`').count();
        let Some(end) = rest[ticks..].find(&rest[..ticks]) else {
            return ticks;
        };
        let end = ticks + end + ticks;
        self.push(WordKind::Code, &rest[..end]);
        end
    }

    fn until(&mut self, rest: &str, closing: char) -> usize {
        let Some(end) = rest.find(closing).filter(|end| !rest[..*end].contains('\n')) else {
            self.push(WordKind::Punctuation, &rest[..1]);
            return 1;
        };
        self.push(WordKind::Code, &rest[..=end]);
        end + 1
    }

    /// A path or a flag: up to white space, without punctuation at its end.
    fn chunk(&mut self, rest: &str) -> usize {
        let whole = rest.split(char::is_whitespace).next().unwrap_or(rest);
        let whole = whole.split(['`', ')', '"', '|']).next().unwrap_or(whole);
        let text = whole.trim_end_matches(['.', ',', ';', ':', '!', '?', '-', '*', '\'']);
        if !text.is_empty() {
            self.push(WordKind::Code, text);
        }
        text.len()
    }

    fn word(&mut self, rest: &str) -> usize {
        let mut end = 0;
        let mut is_code = false;
        let mut letters = rest.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map_or(' ', |(_, next)| *next);
            let is_part = match letter {
                '_' => {
                    is_code = true;
                    true
                }
                '-' | '\'' | '’' => next.is_alphanumeric(),
                '.' | '/' | ':' | '@' | '=' => {
                    let is_part =
                        next.is_alphanumeric() || letter == ':' && next == ':' || letter == '/' && next == '/';
                    is_code |= is_part;
                    is_part
                }
                ',' => next.is_ascii_digit() && rest[..at].ends_with(|before: char| before.is_ascii_digit()),
                letter => letter.is_alphanumeric(),
            };
            if !is_part {
                break;
            }
            end = at + letter.len_utf8();
        }
        let text = &rest[..end];
        let kind = match text.chars().next() {
            Some(first) if first.is_ascii_digit() => WordKind::Number,
            _ if is_code => WordKind::Code,
            _ => WordKind::Plain,
        };
        self.push(kind, text);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(text: &str) -> Vec<(usize, &str)> {
        text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect()
    }

    fn texts(text: &str) -> Vec<String> {
        words(&numbered(text), true).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn code_spans_paths_flags_and_placeholders_are_code() {
        let found = words(&numbered("the `a b` of /etc/x, --root {path} hosts.toml"), true);
        let code: Vec<_> = found
            .iter()
            .filter(|word| word.kind == WordKind::Code)
            .map(|word| word.text.as_str())
            .collect();
        assert_eq!(code, ["`a b`", "/etc/x", "--root", "{path}", "hosts.toml"]);
    }

    #[test]
    fn words_keep_hyphens_and_apostrophes_and_drop_link_targets() {
        assert_eq!(
            texts("the agent's re-run, [see](http://a/b)."),
            ["the", "agent's", "re-run", ",", "[", "see", "."]
        );
    }

    #[test]
    fn words_have_the_line_they_are_in() {
        let found = words(&[(7, "one `two"), (8, "three` four")], false);
        let lines: Vec<_> = found.iter().map(|word| (word.text.as_str(), word.line)).collect();
        assert_eq!(lines, [("one", 7), ("`two\nthree`", 7), ("four", 8)]);
    }

    #[test]
    fn markdown_has_no_code_blocks_but_the_output_of_a_session() {
        let text = "Prose.\n\n    key = 1\n\nMore\nprose.\n\n    $ run\n    Printed.\n\n```toml\n# Code.\n```\n- Item.\n- Next.\n";
        let found: Vec<Vec<&str>> = markdown(numbered(text))
            .into_iter()
            .map(|paragraph| paragraph.into_iter().map(|(_, line)| line.trim()).collect())
            .collect();
        assert_eq!(
            found,
            [
                vec!["Prose."],
                vec!["More", "prose."],
                vec!["Printed."],
                vec!["- Item."],
                vec!["- Next."]
            ]
        );
    }
}
