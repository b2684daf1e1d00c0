use super::*;

fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let tree = SourceTree::from_files(files.iter().copied());
    let edges = ModuleTree::read(&tree, "src/lib.rs").edges();
    let short = |path: &str| path.trim_start_matches("src/").to_owned();
    edges
        .iter()
        .map(|edge| format!("{} -> {}", short(&edge.from), short(&edge.to)))
        .collect()
}

#[test]
fn imports_and_inline_paths_are_edges() {
    let found = edges(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        (
            "src/a.rs",
            "use crate::b::{B, other::X as Y}; fn f() { super::c::g(); }",
        ),
        ("src/b.rs", "pub struct B; pub mod other { pub struct X; }"),
        ("src/c.rs", "pub fn g() { std::fs::read(); }"),
    ]);
    assert_eq!(found, ["a.rs -> b.rs", "a.rs -> c.rs"]);
}

#[test]
fn names_of_modules_are_followed_to_their_files() {
    let found = edges(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use crate::b; use crate::b::d as e; fn f() { b::c::g(); e::h(); }",
        ),
        ("src/b/mod.rs", "pub mod c; pub mod d;"),
        ("src/b/c.rs", "pub fn g() {}"),
        ("src/b/d.rs", "pub fn h() {}"),
    ]);
    assert_eq!(found, ["a.rs -> b/c.rs", "a.rs -> b/d.rs"]);
}

#[test]
fn reexports_are_followed_to_the_definition() {
    let found = edges(&[
        ("src/lib.rs", "mod a; mod b; pub use b::*; pub use b::C as D;"),
        ("src/a.rs", "use crate::{C, D};"),
        ("src/b/mod.rs", "mod c; pub use c::C;"),
        ("src/b/c.rs", "pub struct C;"),
    ]);
    assert_eq!(found, ["a.rs -> b/c.rs"]);
}

#[test]
fn modules_and_reexports_of_children_are_not_edges() {
    let found = edges(&[
        ("src/lib.rs", "pub mod a; pub use a::B;"),
        ("src/a/mod.rs", "mod b; pub use b::B; pub struct A;"),
        ("src/a/b.rs", "use super::A; pub struct B;"),
    ]);
    assert_eq!(found, ["a/b.rs -> a/mod.rs"]);
}

#[test]
fn tests_are_not_read() {
    let found = edges(&[
        ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod t;"),
        ("src/a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"),
        ("src/b.rs", "pub struct B;"),
        ("src/t.rs", "use crate::a;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn path_attributes_and_nested_files_are_found() {
    let found = edges(&[
        ("src/lib.rs", "#[path = \"x/y.rs\"] mod a; mod b;"),
        ("src/x/y.rs", "use crate::b::c::C;"),
        ("src/b.rs", "pub mod c;"),
        ("src/b/c.rs", "pub struct C;"),
    ]);
    assert_eq!(found, ["x/y.rs -> b/c.rs"]);
}

#[test]
fn visibility_and_other_crates_are_not_edges() {
    let found = edges(&[
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use other::b::B; pub(in crate::b) struct A; fn f() { B::new(); }",
        ),
        ("src/b.rs", "pub struct B;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
