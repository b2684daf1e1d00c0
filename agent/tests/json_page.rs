//! The questions of docs/json.md have the answers that the page states.

mod common;

use common::{Node, VERSION};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn questions_of_the_json_page_have_the_stated_answers() {
    if Command::new("jq").arg("--version").output().is_err() {
        writeln!(std::io::stdout(), "SKIPPED: docs/json.md: jq is not installed").unwrap();
        return;
    }
    let node = Node::example();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md")).unwrap();
    let blocks = page
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut questions = 0;
    for block in blocks {
        questions += 1;
        for question in block.split("$ ").skip(1) {
            let (command, answer) = question.split_once('\n').unwrap();
            let program = format!(
                "{} --root '{}' --containerd-version {VERSION} ",
                env!("CARGO_BIN_EXE_mirrorshift"),
                node.root().display()
            );
            let script = command.replacen("mirrorshift ", &program, 1);
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                printed,
                answer,
                "{command}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert_eq!(questions, 5);
}
