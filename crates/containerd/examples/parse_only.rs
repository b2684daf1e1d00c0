//! Reads a file and parses it as TOML, and nothing else: what `benches/run` measures the whole program against.
#![expect(clippy::expect_used, reason = "a measurement that cannot be made should say so")]
#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own, of the smallest that reads a file"
)]

fn main() {
    let path = std::env::args().nth(1).expect("the path of a file");
    let text = std::fs::read_to_string(path).expect("a readable file");
    let document = toml_edit::Document::parse(text).expect("a TOML file");
    std::hint::black_box(document);
}
