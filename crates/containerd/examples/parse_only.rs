//! Reads a file and parses it as TOML. `benches/run` compares the time of the whole program with the time of this example.
#![expect(clippy::expect_used, reason = "a measurement that fails must stop with a message")]
#![expect(clippy::disallowed_methods, reason = "the smallest program that reads a file")]

fn main() {
    let path = std::env::args().nth(1).expect("the path of a file");
    let text = std::fs::read_to_string(path).expect("a readable file");
    let document = toml_edit::Document::parse(text).expect("a TOML file");
    std::hint::black_box(document);
}
