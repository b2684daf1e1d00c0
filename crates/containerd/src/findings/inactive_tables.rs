//! Findings about registry settings in tables that this release does not read, with the releases that read them.

use crate::config::{Config, Cri};
use crate::document::{CRI_IMAGES, CRI_ONE, CRI_TWO, Document};
use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::findings::live::{self, ReleaseReading, SettingLocation};
use crate::findings::shown;
use crate::redact::written_url;
use crate::route::SourceLocation;
use crate::rules::Rule;
use crate::toml::value::{Table, Value, ValueKind};
use std::collections::BTreeSet;

/// A table that was written for the CRI plugin's registries.
pub(super) struct RegistryTable {
    pub(super) place: SourceLocation,
    /// The path of the table.
    path: Vec<String>,
    /// The settings, with their paths in the table.
    settings: Vec<(SettingLocation, Vec<String>)>,
    /// The contents as text, for example: `mirrors` of `ghcr.io`.
    holds: Vec<String>,
    /// True if some release reads this path.
    known: bool,
}

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &input.config.document;
    let groups = groups(document);
    let live = live::leaves(document);
    let inactive: Vec<&RegistryTable> = groups
        .iter()
        .filter(|group| !group.is_live(&live) && !overridden(input, group, &groups))
        .collect();
    let (Some(root), false) = (document.files.first(), inactive.is_empty()) else {
        return;
    };
    let probes = live::probe(&root.path, input.tree);
    for group in inactive {
        report(input, group, &probes, found);
    }
}

fn report(input: &FinderInput<'_>, group: &RegistryTable, probes: &[ReleaseReading], found: &mut FindingSink) {
    let verb = if group.holds.len() == 1 { "is" } else { "are" };
    let what = format!("{} in `{}` {verb} not in effect.", group.words(), group.header());
    let effect = [Some(reason(input, group)), Some(active_on(group, probes))]
        .into_iter()
        .chain(conflicts(input, group, probes))
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let place = Some(group.place.clone());
    if group.known {
        let remedy = "Remove them if they are not needed, otherwise move them to hosts.toml files. Then no upgrade or edit puts \
                      them into effect by accident.";
        found.add(FindingId::InactiveRegistryTable, place, what, effect, remedy);
        return;
    }
    let mirrors = group
        .settings
        .iter()
        .any(|(_, path)| path.first().is_some_and(|key| key == "mirrors"));
    let warning = if mirrors && input.written_path().is_some() {
        "Do not only correct the header: together with the `config_path` in effect, these mirrors would stop the CRI plugin \
         from loading."
    } else {
        "A corrected header puts them into effect, so first check that they are still right."
    };
    let live_plugin = input.config.document.active_plugin_table();
    let remedy = format!("Remove them, or write them in `plugins.\"{live_plugin}\".registry`. {warning}");
    found.add(FindingId::MisspeltTable, place, what, effect, remedy);
}

/// Explains why the settings have no effect on this release.
fn reason(input: &FinderInput<'_>, group: &RegistryTable) -> String {
    let live_plugin = input.config.document.active_plugin_table();
    let in_live_table = group.known && group.path.get(1).is_some_and(|plugin| plugin == live_plugin);
    if in_live_table && input.version.has(Rule::PluginTablesMerged) {
        "They have no effect: containerd replaces them with the registry settings of the older table.".to_owned()
    } else if in_live_table {
        "They have no effect: the same table in a later file replaces this table.".to_owned()
    } else {
        format!(
            "They have no effect: for these files containerd {} reads `plugins.\"{live_plugin}\".registry`.",
            input.version
        )
    }
}

/// Names the releases on which the settings take effect.
fn active_on(group: &RegistryTable, probes: &[ReleaseReading]) -> String {
    match live::lines_where(probes, &|_, leaves| group.is_live(leaves)) {
        Some(lines) => format!("They would take effect on containerd {lines}."),
        None => format!("No release {} reads them.", live::all_lines()),
    }
}

/// Names the releases on which the settings would stop CRI or replace the `config_path` in effect.
fn conflicts(input: &FinderInput<'_>, group: &RegistryTable, probes: &[ReleaseReading]) -> [Option<String>; 2] {
    let path = |config: &Config| config.registry.config_path.as_ref()?.place.clone();
    let now = input.written_path();
    let disables = live::lines_where(probes, &|config, leaves| {
        group.is_live(leaves) && matches!(config.cri, Cri::Unavailable { .. })
    });
    let displaces = live::lines_where(probes, &|config, leaves| {
        group.is_live(leaves) && now.is_some() && path(config).as_ref() != now
    });
    [
        disables.map(|lines| format!("On {lines} the CRI plugin would not load with them.")),
        displaces.map(|lines| format!("On {lines} they would replace the `config_path` in effect now.")),
    ]
}

/// Returns true if the same table in another file overrides every setting of `group`.
fn overridden(input: &FinderInput<'_>, group: &RegistryTable, groups: &[RegistryTable]) -> bool {
    let document = &input.config.document;
    let owner = |value: &Value| {
        let leaf = (document.files.get(value.file)?.path.clone(), value.span.start);
        groups
            .iter()
            .find(|other| other.settings.iter().any(|(setting, _)| *setting == leaf))
    };
    group.settings.iter().all(|(_, path)| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let winner = input.value(&path).and_then(owner);
        winner.is_some_and(|winner| winner.path == group.path)
    })
}

impl RegistryTable {
    pub(super) fn is_live(&self, live: &BTreeSet<SettingLocation>) -> bool {
        self.settings.iter().any(|(leaf, _)| live.contains(leaf))
    }

    /// Returns the table's path as it is written in a header.
    pub(super) fn header(&self) -> String {
        let part = |part: &String| {
            let bare = !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if bare {
                part.clone()
            } else {
                format!("\"{}\"", written_url(part))
            }
        };
        self.path.iter().map(part).collect::<Vec<_>>().join(".")
    }

    /// Returns the contents as text.
    pub(super) fn words(&self) -> String {
        shown::list(&self.holds, 8)
    }
}

/// Returns every table that was written for the CRI plugin's registries and is not empty, of all files.
pub(super) fn groups(document: &Document) -> Vec<RegistryTable> {
    let mut groups = Vec::new();
    for (index, file) in document.files.iter().enumerate() {
        let mut path = Vec::new();
        walk(document, index, &file.parsed.root, &mut path, &mut groups);
    }
    groups
}

fn walk(document: &Document, file: usize, table: &Table, path: &mut Vec<String>, groups: &mut Vec<RegistryTable>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        path.push(key.clone());
        let registry = key.eq_ignore_ascii_case("registry");
        if registry && holds(inner).is_some() {
            groups.extend(group(document, file, inner, path, &[], value));
        } else if key == "mirrors" && inner.values().any(has_endpoint) {
            groups.extend(group(document, file, inner, path, &["mirrors"], value));
        } else {
            walk(document, file, inner, path, groups);
        }
        path.pop();
    }
}

fn has_endpoint(value: &Value) -> bool {
    value.as_table().is_some_and(|table| table.contains_key("endpoint"))
}

fn group(
    document: &Document,
    index: usize,
    table: &Table,
    path: &[String],
    below: &[&str],
    value: &Value,
) -> Option<RegistryTable> {
    let known = is_known(path);
    if !known && !is_meant_for_cri(path, table) {
        return None;
    }
    let file = document.files.get(index)?;
    let mut settings = Vec::new();
    live::each_leaf(table, &mut Vec::new(), &mut |path, value| {
        let nothing = path.len() == 1 && (value.as_table().is_some() || value.as_str() == Some(""));
        if !nothing {
            let whole = below.iter().chain(path).map(|part| (*part).to_owned()).collect();
            settings.push(((file.path.clone(), value.span.start), whole));
        }
    });
    let holds = if below.is_empty() {
        holds(table)?
    } else {
        vec![counted("mirrors", table)]
    };
    (!settings.is_empty()).then(|| RegistryTable {
        place: document.place_of(index, value.span.start),
        path: path.to_vec(),
        settings,
        holds,
        known,
    })
}

/// Describes the registry settings in a table, or returns `None` if it has none.
fn holds(table: &Table) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (key, value) in table {
        let lower = key.to_ascii_lowercase();
        match &value.kind {
            ValueKind::Table(inner) if ["mirrors", "configs", "auths", "headers"].contains(&lower.as_str()) => {
                words.extend((!inner.is_empty()).then(|| counted(&lower, inner)));
            }
            ValueKind::String(text) if lower == "config_path" && !text.is_empty() => {
                words.push("`config_path`".to_owned());
            }
            ValueKind::Table(_) if has_endpoint(value) => words.push(format!("`{}`", written_url(key))),
            _ => {}
        }
    }
    (!words.is_empty()).then_some(words)
}

fn counted(key: &str, entries: &Table) -> String {
    let names = shown::quoted(entries.keys().map(String::as_str));
    match key {
        // The values are secret, and the names do not help.
        "headers" => "`headers`".to_owned(),
        key => format!("`{key}` of {}", shown::list(&names, 4)),
    }
}

fn is_known(path: &[String]) -> bool {
    let plugins = [CRI_ONE, CRI_TWO, CRI_IMAGES];
    matches!(path, [top, plugin, registry]
        if top == "plugins" && plugins.contains(&plugin.as_str()) && registry == "registry")
}

/// Returns true if the path was intended for the CRI plugin. Other plugins and programs have their own registry tables.
fn is_meant_for_cri(path: &[String], table: &Table) -> bool {
    let names_cri = |part: &String| {
        let part = part.to_ascii_lowercase();
        part.split('.').any(|word| word == "cri")
    };
    match path {
        [top] if top == "registry" => table.contains_key("mirrors"),
        [top] => top == "mirrors",
        [_, rest @ ..] => rest.iter().any(names_cri),
        [] => false,
    }
}
