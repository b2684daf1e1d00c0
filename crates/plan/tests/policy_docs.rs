//! Keeps `docs/policy.md` and `docs/schemas/policy.schema.json` equal to the reader of the policy.
//!
//! The reader names its keys and words itself: in the hint about an unknown key, and in the message about a wrong value. So a
//! key that is added to the reader fails these tests until the document and the schema have it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of a test function"
)]

use mirrorshift_plan::policy::{Fallback, Registry};
use mirrorshift_plan::policy::{MirrorUrl, Mode, Policy, PolicyError, Restart, Tags, When, Wildcard};
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/policy.md");
const SCHEMA: &str = include_str!("../../../docs/schemas/policy.schema.json");
const HEAD: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";

/// Each map of the policy: the prefix of its keys in the document, its place in the schema, and a policy with the unknown key
/// `zzzzzzzz` in the map.
const MAPS: [(&str, &str, &str); 4] = [
    ("", "", "zzzzzzzz: 1"),
    (
        "registries[].",
        "/$defs/registry",
        "registries: [{host: ghcr.io, zzzzzzzz: 1}]",
    ),
    (
        "registries[].mirrors[].",
        "/$defs/mirror",
        "registries: [{host: ghcr.io, mirrors: [{url: 'http://h', zzzzzzzz: 1}]}]",
    ),
    ("restart.", "/$defs/restart", "restart: {zzzzzzzz: 1}"),
];
/// Each key with a fixed set of words: its section, its place in the schema, and a policy with a wrong word.
const WORDS: [(&str, &str, &str); 4] = [
    ("mode", "/properties/mode", "mode: zzzzzzzz"),
    (
        "registries[].tags",
        "/$defs/registry/properties/tags",
        "registries: [{host: ghcr.io, tags: zzzzzzzz}]",
    ),
    (
        "registries[].fallback",
        "/$defs/registry/properties/fallback",
        "registries: [{host: ghcr.io, fallback: zzzzzzzz}]",
    ),
    (
        "restart.when",
        "/$defs/restart/properties/when",
        "restart: {when: zzzzzzzz}",
    ),
];

fn parse(keys: &str) -> Result<Policy, PolicyError> {
    Policy::parse(&format!("{HEAD}{keys}\n"), "policy.yaml")
}

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words that the hint of the only mistake of a policy names.
fn words_of_hint(keys: &str) -> Vec<String> {
    let error = parse(keys).unwrap_err();
    quoted(error.hint.as_deref().unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// The section of a key in the document, without its heading.
fn section(key: &str) -> &'static str {
    let heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == key;
    let line = DOCUMENT
        .lines()
        .find(heading)
        .unwrap_or_else(|| panic!("docs/policy.md has no section `{key}`"));
    let from = DOCUMENT.find(&format!("\n{line}\n")).unwrap() + line.len() + 2;
    let rest = &DOCUMENT[from..];
    rest.find("\n#").map_or(rest, |end| &rest[..end])
}

/// The text of the line `- NAME: …` of a section.
fn item(key: &str, name: &str) -> Option<&'static str> {
    section(key)
        .lines()
        .find_map(|line| line.strip_prefix(&format!("- {name}: ")))
}

#[test]
fn every_key_has_a_section_and_a_property() {
    let schema = schema();
    let mut sections = BTreeSet::new();
    for (prefix, place, wrong) in MAPS {
        let keys: BTreeSet<String> = words_of_hint(wrong).into_iter().collect();
        for key in &keys {
            let name = format!("{prefix}{key}");
            assert!(item(&name, "Values").is_some(), "`{name}` has no values");
            let is_required = section(&name).contains("\n- Required.");
            assert!(
                is_required != item(&name, "Default").is_some(),
                "`{name}` has either a default or `Required.`"
            );
            let required = schema.pointer(place).unwrap().get("required");
            let in_schema =
                required.is_some_and(|list| list.as_array().unwrap().iter().any(|known| known == key.as_str()));
            assert_eq!(in_schema, is_required, "`{name}`");
            sections.insert(name);
        }
        let map = schema.pointer(place).unwrap();
        let properties: BTreeSet<String> = map["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(properties, keys, "{place}");
        assert_eq!(map["additionalProperties"], false, "{place}");
    }
    let headings = DOCUMENT.lines().filter(|line| line.starts_with("##"));
    let headings: BTreeSet<String> = headings
        .map(|line| line.trim_start_matches('#').trim().to_owned())
        .collect();
    assert_eq!(headings, sections);
}

#[test]
fn every_word_is_in_the_document_and_the_schema() {
    let schema = schema();
    for (key, place, wrong) in WORDS {
        let words = words_of_hint(wrong);
        assert_eq!(quoted(item(key, "Values").unwrap()), words, "{key}");
        let property = schema.pointer(place).unwrap();
        let known: Vec<&str> = property["enum"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(known, words, "{key}");
        let default = quoted(item(key, "Default").unwrap());
        assert_eq!(vec![property["default"].as_str().unwrap()], default, "{key}");
        for word in words {
            assert!(
                section(key).contains(&format!("| `{word}` |")),
                "docs/policy.md does not explain `{word}` of `{key}`"
            );
        }
    }
}

#[test]
fn every_default_is_the_reader_s() {
    // The agent observes when the file does not set `mode`.
    assert_eq!(parse("").unwrap(), Policy::default());
    assert_eq!(parse("mode: observe").unwrap().mode, Some(Mode::Observe));
    let document = |key: &str| quoted(item(key, "Default").unwrap())[0];
    let restart = format!(
        "restart: {{when: {}, maxConcurrent: {}, deadline: {}}}",
        document("restart.when"),
        document("restart.maxConcurrent"),
        document("restart.deadline"),
    );
    assert_eq!(parse(&restart).unwrap().restart, Restart::default());
    assert_eq!(Restart::default().when, When::Idle);
    let wildcard = format!("wildcard: {}", document("wildcard"));
    assert_eq!(parse(&wildcard).unwrap().wildcard, Wildcard::default());
    let entry = |keys: &str| -> Registry {
        let mut policy = parse(&format!("registries: [{{host: ghcr.io, {keys}}}]")).unwrap();
        policy.registries.remove(0)
    };
    let tags = document("registries[].tags");
    assert_eq!(entry(&format!("tags: {tags}")).tags, Tags::default());
    let fallback = document("registries[].fallback");
    assert_eq!(entry(&format!("fallback: {fallback}")).fallback, Fallback::default());
    for key in ["registries", "adopt"] {
        assert_eq!(item(key, "Default"), Some("an empty list"));
        assert_eq!(schema()["properties"][key]["default"], serde_json::json!([]));
    }
    let schema = schema();
    let restart = |key: &str| schema["$defs"]["restart"]["properties"][key]["default"].clone();
    assert_eq!(restart("maxConcurrent").to_string(), document("restart.maxConcurrent"));
    assert_eq!(restart("deadline"), document("restart.deadline"));
    assert_eq!(schema["properties"]["wildcard"]["default"], document("wildcard"));
}

#[test]
fn every_bound_is_the_reader_s() {
    let bounds = quoted(item("restart.deadline", "Bounds").unwrap());
    assert_eq!(bounds, ["20s", "1h"]);
    for (deadline, accepted) in [("20s", true), ("19s", false), ("1h", true), ("3601s", false)] {
        let policy = parse(&format!("restart: {{deadline: {deadline}}}"));
        assert_eq!(policy.is_ok(), accepted, "{deadline}");
    }
    assert!(
        item("restart.maxConcurrent", "Bounds")
            .unwrap()
            .contains(&u32::MAX.to_string())
    );
    let schema = schema();
    let nodes = &schema["$defs"]["restart"]["properties"]["maxConcurrent"];
    assert_eq!(
        (nodes["minimum"].as_u64(), nodes["maximum"].as_u64()),
        (Some(1), Some(u64::from(u32::MAX)))
    );
    for (count, accepted) in [
        (0, false),
        (1, true),
        (u64::from(u32::MAX), true),
        (u64::from(u32::MAX) + 1, false),
    ] {
        let policy = parse(&format!("restart: {{maxConcurrent: {count}}}"));
        assert_eq!(policy.is_ok(), accepted, "{count}");
    }
    let longest = schema["$defs"]["mirror"]["properties"]["url"]["maxLength"]
        .as_u64()
        .unwrap();
    assert!(section("registries[].mirrors[].url").contains(&longest.to_string()));
    let url = |len: usize| MirrorUrl::parse(&format!("http://h/{}", "a".repeat(len - "http://h/".len())));
    let longest = usize::try_from(longest).unwrap();
    assert!(url(longest).is_ok() && url(longest + 1).is_err());
}

/// Parses the fenced examples of each section, and the whole policy at the top.
#[test]
fn every_example_is_accepted() {
    let mut examples = 0;
    for block in DOCUMENT.split("```yaml\n").skip(1) {
        let example = block.split("```").next().unwrap();
        if let Err(error) = parse(example) {
            panic!("{error}\n{example}");
        }
        examples += 1;
    }
    let optional = DOCUMENT.matches("\n- Default: ").count();
    assert!(examples >= optional, "{examples} examples of {optional} optional keys");
    let introduction = DOCUMENT.split("\n## ").next().unwrap();
    let top: Vec<&str> = introduction
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    let policy = Policy::parse(&top.join("\n"), "policy.yaml").unwrap();
    assert_eq!(policy.restart, Restart::default());
    assert_eq!(policy.mode, Some(Mode::Migrate));
}
