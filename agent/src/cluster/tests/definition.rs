//! The custom resource definition in the manifests matches the types, and the runbook explains their words.

use crate::cluster::conditions::{ConditionType, Reason};
use crate::cluster::events::EventReason;
use crate::cluster::node_mirror::{NodeMirror, NodePhase};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};
use std::path::Path;

fn definition() -> Value {
    let definition: CustomResourceDefinition = NodeMirror::crd();
    serde_json::to_value(definition).unwrap()
}

/// With `MIRRORSHIFT_UPDATE` set, the test writes the file.
#[test]
fn manifest_is_generated_from_the_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/base/crd.yaml");
    let yaml = serde_saphyr::to_string(&definition()).unwrap();
    let text = format!(
        "# Generated from the types in agent/src/cluster/node_mirror.rs. The test in agent/src/cluster/tests/definition.rs writes this file\n\
         # when MIRRORSHIFT_UPDATE is set.\n{yaml}"
    );
    if std::env::var_os("MIRRORSHIFT_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(
        published == text,
        "crd.yaml is out of date: run this test with MIRRORSHIFT_UPDATE=1"
    );
    let read: Value = serde_saphyr::from_str(&published).unwrap();
    assert_eq!(read, definition());
}

#[test]
fn definition_has_the_printer_columns_and_list_maps() {
    let definition = definition();
    assert_eq!(definition["spec"]["scope"], "Cluster");
    let version = &definition["spec"]["versions"][0];
    assert_eq!(version["subresources"], json!({ "status": {} }));
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Phase", "Containerd", "Mirrors", "Change", "Age", "Message"]);
    let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
    let phases: Vec<_> = NodePhase::ALL.iter().map(|phase| phase.name()).collect();
    assert_eq!(status["properties"]["phase"]["enum"], json!(phases));
    // With a list map, the API server rejects two conditions of one type.
    assert_eq!(status["properties"]["conditions"]["x-kubernetes-list-type"], "map");
    assert_eq!(
        status["properties"]["conditions"]["x-kubernetes-list-map-keys"],
        json!(["type"])
    );
}

/// The rules of
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>
/// that a schema generated from types can violate.
#[test]
fn schema_is_structural() {
    fn walk(schema: &Value, at: &str) {
        let Value::Object(schema) = schema else {
            panic!("{at}: no object")
        };
        assert!(schema.contains_key("type"), "{at}: no type");
        for key in ["$ref", "definitions", "$defs", "const", "additionalItems", "deprecated"] {
            assert!(!schema.contains_key(key), "{at}: {key}");
        }
        for junction in ["anyOf", "oneOf", "allOf", "not"] {
            assert!(!schema.contains_key(junction), "{at}: {junction}");
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            assert!(!schema.contains_key("additionalProperties"), "{at}");
            for (name, property) in properties {
                walk(property, &format!("{at}.{name}"));
            }
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{at}[]"));
        }
    }
    walk(&definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
}

/// An operator finds every phase, condition, reason and Event in the runbook.
#[test]
fn runbook_explains_every_word_of_the_agent() {
    let runbook = read("docs/runbook.md");
    let row = |word: &str| {
        let cell = format!("| `{word}` |");
        runbook
            .lines()
            .any(|line| line.starts_with('|') && line.contains(&cell))
    };
    let kinds: Vec<_> = ConditionType::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    let words = NodePhase::ALL.iter().map(|phase| phase.name());
    let words = words.chain(Reason::ALL.iter().map(|reason| reason.name()));
    let words = words.chain(EventReason::ALL.iter().map(|reason| reason.name()));
    for word in words.chain(kinds.iter().map(String::as_str)) {
        assert!(row(word), "{word} is in no table of the runbook");
    }
}

/// An overlay with another `namespace:` renames the namespace of the service account, but not the text of an
/// expression. With a namespace in the expression, the admission policy would match no requests.
#[test]
fn admission_policy_matches_agents_in_any_namespace() {
    let manifest = read("manifests/base/admission.yaml");
    assert!(!manifest.contains("mirrorshift-system"), "the policy names a namespace");
    assert!(manifest.contains("endsWith(':mirrorshift-agent')"));
}

/// Alerts and the dashboard query metrics that the runbook explains, and existing phases.
#[test]
fn monitoring_queries_existing_metrics_and_phases() {
    let runbook = read("docs/runbook.md");
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for file in ["rules.yaml", "dashboard.json"] {
        let text = read(&format!("manifests/monitoring/{file}"));
        let mut count = 0;
        for (at, _) in text.match_indices("mirrorshift_") {
            let metric: String = text[at..].chars().take_while(|letter| word(*letter)).collect();
            let known = [format!("`{metric}`"), format!("`{metric}{{")];
            assert!(
                known.iter().any(|known| runbook.contains(known.as_str())),
                "{file}: {metric}"
            );
            count += 1;
        }
        assert!(count > 5, "{file}");
        for after in text.split("phase=").skip(1) {
            let phases = after
                .trim_start_matches(['~', '\\', '"'])
                .split(['"', '\\'])
                .next()
                .unwrap();
            for phase in phases.split('|') {
                assert!(
                    NodePhase::ALL.iter().any(|known| known.name() == phase),
                    "{file}: {phase}"
                );
            }
        }
    }
    let dashboard: Value = serde_json::from_str(&read("manifests/monitoring/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
