//! Checks that the cases cover every rule, note, action and policy key.

use crate::case::Case;
use mirrorshift_containerd::Rule;
use mirrorshift_plan::{Note, RefusalReason};
use serde_json::Value;
use std::collections::BTreeSet;

/// Rules that change the plan of no case, with the reason.
const UNSEEN: &[(Rule, &str)] = &[(
    Rule::DeprecationsListed,
    "it adds a sentence to a deprecation in `check`, which a plan prints without it",
)];

/// Every note by its name in JSON.
const NOTES: [&str; 5] = [
    "repairs-cri",
    "leaves-certs-d",
    "transfer-service",
    "never-matched",
    "newer-than-known",
];

/// Does not compile when a note is added, whose name must then be added to [`NOTES`].
#[expect(dead_code, reason = "it only has to compile")]
fn name(note: &Note) -> &'static str {
    match note {
        Note::RepairsCri(_) => NOTES[0],
        Note::LeavesCertsD { .. } => NOTES[1],
        Note::TransferService => NOTES[2],
        Note::NeverMatched { .. } => NOTES[3],
        Note::NewerThanKnown => NOTES[4],
    }
}

/// Fails with everything that no case covers.
pub(crate) fn all(cases: &[Case]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for case in cases {
        let to_text = |error: String| format!("{}: {error}", case.name);
        one(case, &mut seen).map_err(to_text)?;
    }
    let missing: Vec<String> = wanted().into_iter().filter(|thing| !seen.contains(thing)).collect();
    if !missing.is_empty() {
        return Err(format!("no case covers\n  {}", missing.join("\n  ")));
    }
    match UNSEEN.iter().find(|(rule, _)| seen.contains(&format!("rule {rule:?}"))) {
        Some((rule, why)) => Err(format!(
            "`{rule:?}` changes the plan of a case, and is listed in UNSEEN: {why}"
        )),
        None => Ok(()),
    }
}

fn wanted() -> Vec<String> {
    let unseen = |rule: &Rule| UNSEEN.iter().any(|(known, _)| known == rule);
    let mut wanted: Vec<String> = ["none", "1", "2", "3", "4"]
        .map(|schema| format!("schema {schema}"))
        .into();
    wanted.extend(RefusalReason::ALL.map(|reason| format!("refusal {}", reason.as_str())));
    wanted.extend(NOTES.map(|note| format!("note {note}")));
    wanted.extend(
        Rule::ALL
            .iter()
            .filter(|rule| !unseen(rule))
            .map(|rule| format!("rule {rule:?}")),
    );
    let steps = [
        "create hosts.toml",
        "replace hosts.toml",
        "create config.toml",
        "replace config.toml",
        "replace drop-in",
    ];
    wanted.extend(steps.map(|step| format!("step {step}")));
    let keys = [
        "wildcard: keep",
        "wildcard: drop",
        "wildcard: list",
        "registries.mirrors",
        "registries.tags",
        "registries.fallback",
        "adopt",
        "flag --mirror",
        "flag --wildcard",
    ];
    wanted.extend(keys.map(|key| format!("policy {key}")));
    wanted
}

/// Adds what one case covers; a policy key only if it has an effect.
fn one(case: &Case, seen: &mut BTreeSet<String>) -> Result<(), String> {
    let node = case.node().map_err(|error| error.to_string())?;
    let json = ["plan", "--output", "json"];
    let ran = node
        .run(case, &case.file.version, &json, true)
        .map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_str(&ran.stdout).map_err(|error| format!("{error}: {}", ran.stderr))?;
    seen.extend(case.file.rules.keys().map(|rule| format!("rule {rule}")));
    if let Some(reason) = answer["error"]["reason"].as_str() {
        seen.insert(format!("refusal {reason}"));
        return Ok(());
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for note in list(&answer["notes"]) {
        seen.insert(format!("note {}", text(&note["id"])));
    }
    let policy = case.policy().map_err(|error| error.to_string())?.unwrap_or_default();
    for file in list(&answer["files"]) {
        let (path, action) = (text(&file["path"]), text(&file["action"]));
        let kind = match path.rsplit('/').next() {
            Some("hosts.toml") => "hosts.toml",
            _ if path == mirrorshift_containerd::DEFAULT_CONFIG => "config.toml",
            _ => "drop-in",
        };
        seen.insert(format!("step {action} {kind}"));
        if kind == "hosts.toml" && action == "replace" && policy.contains("adopt:") {
            seen.insert("policy adopt".to_owned());
        }
        if kind != "hosts.toml" && action == "replace" {
            let bytes = std::fs::read(node.root().join(path.trim_start_matches('/')));
            let text = String::from_utf8_lossy(&bytes.map_err(|error| error.to_string())?).into_owned();
            seen.insert(format!("schema {}", schema(&text)));
        }
    }
    let flagged = |flag: &str| case.file.arguments.iter().any(|argument| argument == flag);
    for key in list(&answer["routes"])
        .iter()
        .flat_map(|route| list(&route["requestedBy"]))
    {
        let key = text(&key);
        if key == "wildcard" {
            let drop =
                policy.contains("wildcard: drop") || case.file.arguments.iter().any(|argument| argument == "drop");
            seen.insert(format!("policy wildcard: {}", if drop { "drop" } else { "list" }));
            seen.extend(flagged("--wildcard").then(|| "policy flag --wildcard".to_owned()));
        } else if let Some(name) = key.rsplit('.').next() {
            seen.insert(format!("policy registries.{name}"));
            seen.extend((name == "mirrors" && flagged("--mirror")).then(|| "policy flag --mirror".to_owned()));
        }
    }
    // `wildcard: keep` is covered if the wildcard is kept: `_default` is created.
    let keeps = policy.contains("wildcard: keep");
    let comes = |file: &Value| text(&file["path"]).ends_with("/_default/hosts.toml");
    seen.extend((keeps && list(&answer["files"]).iter().any(comes)).then(|| "policy wildcard: keep".to_owned()));
    Ok(())
}

/// Returns the schema of a configuration file.
fn schema(text: &str) -> String {
    let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
    let mut versions = top.filter_map(|line| Some(line.split_once('=').filter(|(key, _)| key.trim() == "version")?.1));
    versions.next().map_or("none".to_owned(), |value| {
        value.split('#').next().unwrap_or_default().trim().to_owned()
    })
}
