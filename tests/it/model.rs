//! The model, compared with the answers of seven real containerd releases to 168 real files, if the corpus is next to
//! the project.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program fails by panicking, and its output is its report"
)]

use mirrorshift_containerd::{Entry, LoadFault, Tree, read};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    mirrorshift_tests::with_corpus(&[(
        "model::load_result_and_merged_values_equal_those_of_containerd",
        load_result_and_merged_values_equal_those_of_containerd,
    )])
}

/// Returns the model's result for one file, in the form of the recorded answers.
fn answer(version: &str, bytes: &[u8]) -> Result<Value, LoadFault> {
    let version = version.parse().unwrap();
    let mut tree = Tree::new();
    tree.insert("/etc/containerd/config.toml", Entry::File(bytes.to_vec()));
    let config = loop {
        let reading = read(&version, "/etc/containerd/config.toml", &tree);
        if reading.missing.is_empty() {
            break reading.outcome.map_err(|error| error.fault)?;
        }
        reading
            .missing
            .into_iter()
            .for_each(|path| tree.insert(path, Entry::Absent));
    };
    let registry = &config.registry;
    let endpoints = |mirror: &mirrorshift_containerd::registry::Mirror| {
        mirror
            .endpoints
            .iter()
            .map(|(endpoint, _)| endpoint.clone())
            .collect::<Vec<_>>()
    };
    let mirrors: BTreeMap<_, _> = registry
        .mirrors
        .iter()
        .map(|mirror| (&mirror.registry, endpoints(mirror)))
        .collect();
    let auths: Vec<_> = registry.auths.iter().map(|(key, _)| key).collect();
    let folded = |host: &String| auths.iter().any(|key| key.ends_with(host.as_str()));
    let configs: BTreeMap<_, _> = registry
        .configs
        .iter()
        .filter(|(host, config)| config.tls.is_some() || !folded(host))
        .map(|(host, config)| {
            let kinds = [("auth", config.auth.is_some()), ("tls", config.tls.is_some())];
            (
                host,
                kinds
                    .into_iter()
                    .filter(|(_, set)| *set)
                    .map(|(kind, _)| kind)
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let path = registry.config_path.as_ref();
    Ok(json!({
        "mirrors": mirrors,
        "configs": configs,
        "auths": auths,
        "headers": registry.headers.reveal(),
        "config_path": path.map_or("", |path| path.value.as_str()),
    }))
}

fn load_result_and_merged_values_equal_those_of_containerd(corpus: &Path) {
    let measured: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&std::fs::read(corpus.join("EFFECTIVE.json")).unwrap()).unwrap();
    let (mut compared, mut different) = (0, Vec::new());
    for (file, versions) in &measured {
        let bytes = std::fs::read(corpus.join(file)).unwrap();
        for (version, real) in versions {
            compared += 1;
            let model = answer(version, &bytes);
            let same = match (&model, real.get("error")) {
                (Ok(model), None) => {
                    let mut model = model.clone();
                    // Since 2.2.2 the default is filled in after the configuration is dumped.
                    if real["config_path"] == ""
                        && model["config_path"] == "/etc/containerd/certs.d:/etc/docker/certs.d"
                    {
                        model["config_path"] = json!("");
                    }
                    let sorted = |value: &Value| {
                        let mut value = value.clone();
                        if let Some(configs) = value.as_object_mut() {
                            configs.values_mut().filter_map(Value::as_array_mut).for_each(|kinds| {
                                kinds.sort_by_key(ToString::to_string);
                            });
                        }
                        value
                    };
                    ["mirrors", "auths", "headers", "config_path"]
                        .iter()
                        .all(|key| model[*key] == real[*key])
                        && sorted(&model["configs"]) == sorted(&real["configs"])
                }
                // `config dump` of 2.x ignores a missing import, with which containerd does not start.
                (Err(_), Some(_)) | (Err(LoadFault::MissingImport(_)), None) => true,
                // Syntax that only 1.x accepts is refused by this tool on purpose.
                (Err(LoadFault::Syntax(error)), None) => {
                    version.starts_with("v1") && error.accepted_by == mirrorshift_containerd::toml::AcceptedBy::V1Only
                }
                _ => false,
            };
            if !same {
                different.push(format!("{file} {version}\n  model {model:?}\n  real  {real}"));
            }
        }
    }
    println!("corpus: {compared} answers compared, {} different", different.len());
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(compared, 168 * 7);
}
