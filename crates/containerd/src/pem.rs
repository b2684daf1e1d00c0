//! PEM as Go's `encoding/pem` reads it. A block starts and ends at the start of a line, spaces at the end of a line are
//! ignored, and an invalid block is skipped. PEM crates differ in each of these, so they would accept or reject a CA
//! differently from containerd.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// The equivalent of Go's `base64.StdEncoding`: padding is required, surplus bits are ignored.
const BASE64: GeneralPurpose = {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&STANDARD, config)
};

/// A block of a PEM file.
pub(crate) struct Block<'a> {
    /// The text after `BEGIN`.
    pub(crate) kind: &'a str,
    /// True if lines such as `Proc-Type: 4,ENCRYPTED` are in front of the content.
    pub(crate) has_headers: bool,
    /// The decoded content.
    pub(crate) content: Vec<u8>,
}

/// Returns the valid blocks, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.trim_end_matches([' ', '\t', '\r']))
        .collect();
    let mut blocks = Vec::new();
    let mut begin = None;
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("-----BEGIN ") {
            begin = Some(at);
        } else if line.starts_with("-----END ")
            && let Some(begin) = begin.take()
        {
            blocks.extend(block(&lines[begin..=at]));
        }
    }
    blocks
}

fn block<'a>(lines: &[&'a str]) -> Option<Block<'a>> {
    let (first, lines) = lines.split_first()?;
    let (last, lines) = lines.split_last()?;
    let kind = first.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    if last.strip_prefix("-----END ")?.strip_suffix("-----")? != kind {
        return None;
    }
    let headers = lines.iter().take_while(|line| line.contains(':')).count();
    let encoded: String = lines[headers..]
        .iter()
        .flat_map(|line| line.chars())
        .filter(|c| !" \t\r".contains(*c))
        .collect();
    Some(Block {
        kind,
        has_headers: headers > 0,
        content: BASE64.decode(encoded).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, bool, Vec<u8>)> {
        blocks(text)
            .into_iter()
            .map(|block| (block.kind.to_owned(), block.has_headers, block.content))
            .collect()
    }

    #[test]
    fn blocks_match_go() {
        let good = "-----BEGIN X Y-----\nAAEC\n-----END X Y-----\n";
        let block = ("X Y".to_owned(), false, vec![0, 1, 2]);
        for text in [
            good.to_owned(),
            good.trim_end().to_owned(),
            good.replace('\n', "\r\n"),
            good.replace('\n', " \t\n"),
            good.replace('\n', "\n\n"),
            good.replace("AAEC", "A A\nE\tC"),
            format!("text\n{good}text"),
            format!("-----BEGIN X Y-----\n!!\n-----END X Y-----\n{good}"),
            format!("-----BEGIN X Y-----\nAAEC\n{good}"),
            format!("-----BEGIN X Y-----\nAAEC\n-----END Z-----\n{good}"),
        ] {
            assert_eq!(read(&text), std::slice::from_ref(&block), "{text}");
        }
        let headers = good.replace("AAEC", "Proc-Type: 4,ENCRYPTED\n\nAAEC");
        assert_eq!(read(&headers), [("X Y".to_owned(), true, vec![0, 1, 2])]);
        assert_eq!(read(&good.repeat(2)), [block.clone(), block.clone()]);
        // Surplus bits are ignored, missing padding is not.
        assert_eq!(
            read(&good.replace("AAEC", "AB==")),
            [("X Y".to_owned(), false, vec![0])]
        );
    }

    #[test]
    fn blocks_skip_what_go_skips() {
        let good = "-----BEGIN X-----\nAAEC\n-----END X-----\n";
        for text in [
            String::new(),
            good.replace("AAEC", "AAE"),
            good.replace("AAEC", "AB"),
            good.replace("\n-----END", "-----END"),
            good.replace('\n', "\n  ").replacen("-----", "  -----", 1),
            format!("text {good}"),
            format!("\u{feff}{good}"),
            good.replace("END X", "END Y"),
            good.replace("BEGIN X-----", "BEGIN X"),
            good.replace("END X-----", "END X----- text"),
            good.to_lowercase(),
            "-----END X-----\n-----BEGIN X-----\nAAEC\n".to_owned(),
        ] {
            assert_eq!(read(&text), [], "{text}");
        }
    }
}
