//! Findings about files and how containerd combines them: imports, drop-ins, byte order marks.

use crate::document::{CRI_TWO, ConfigFile, LoadWarning};
use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::findings::live::each_leaf;
use crate::findings::shown;
use crate::redact::written_url;
use crate::rules::Rule;
use crate::toml::value::{Table, Value};
use std::collections::BTreeSet;

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    for warning in &input.config.document.warnings {
        load_warning(warning, found);
    }
    for (index, file) in input.config.document.files.iter().enumerate() {
        if file.parsed.text.starts_with('\u{feff}') {
            found.add(
                FindingId::ByteOrderMark,
                Some(input.config.document.place_of(index, 0)),
                "The file starts with a byte order mark.",
                "This containerd skips it. containerd 2.x does not start with it.",
                "Save the file as UTF-8 without a byte order mark.",
            );
        }
    }
    if !input.version.has(Rule::PluginTablesMerged) {
        replaced(input, found);
    }
    if input.version.has(Rule::MovedOnceAfterMerge) {
        hidden(input, found);
    }
}

fn load_warning(warning: &LoadWarning, found: &mut FindingSink) {
    match warning {
        LoadWarning::ImportedAgain { place, path } => found.add(
            FindingId::ImportedAgain,
            Some(place.clone()),
            format!("`imports` leads to `{path}` again."),
            "containerd loads the file once, at its first import.",
            "Remove the import.",
        ),
        LoadWarning::GlobBelowWorkingDirectory { place, pattern } => found.add(
            FindingId::RelativeImportGlob,
            Some(place.clone()),
            format!("`imports` has the relative pattern `{pattern}`."),
            "This containerd resolves it in its working directory, which is `/` under systemd, not in the folder of this file. \
             1.6.29, 1.7.16 and newer resolve it in the folder of this file.",
            "Write the absolute path, such as `/etc/containerd/conf.d/*.toml`.",
        ),
    }
}

/// Returns a plugin's table in a file, whatever the case of `plugins` there.
fn plugin<'f>(input: &FinderInput<'_>, file: &'f ConfigFile, name: &str) -> Option<&'f Value> {
    let plugins = input.config.document.field(&file.parsed.root, "plugins")?;
    plugins.as_table()?.get(name)
}

fn paths(table: &Table) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    each_leaf(table, &mut Vec::new(), &mut |path, value| {
        // An empty table has no setting that could be lost.
        if value.as_table().is_none() {
            paths.push(path.to_vec());
        }
    });
    paths
}

/// Reports earlier plugin tables that a later file replaces, as containerd does before 2.0.
fn replaced(input: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &input.config.document;
    let name = document.active_plugin_table();
    let tables: Vec<(usize, &Value, &Table)> = document
        .files
        .iter()
        .enumerate()
        .filter_map(|(index, file)| {
            let value = plugin(input, file, name)?;
            Some((index, value, value.as_table()?))
        })
        .collect();
    let Some(((later, value, winner), earlier)) = tables.split_last() else {
        return;
    };
    let kept: BTreeSet<Vec<&str>> = paths(winner).into_iter().collect();
    for (index, _, table) in earlier {
        let lost: Vec<String> = paths(table)
            .into_iter()
            .filter(|path| !kept.contains(path))
            .map(|path| format!("`{}`", written_url(&path.join("."))))
            .collect();
        let Some(file) = document.files.get(*index).filter(|_| !lost.is_empty()) else {
            continue;
        };
        found.add(
            FindingId::DropInReplacesTable,
            Some(document.place_of(*later, value.span.start)),
            format!("This file has a table `plugins.\"{name}\"`, and so has `{}`, which is loaded before it.", file.path),
            format!(
                "containerd 1.x replaces the earlier table with the later one, so these settings of `{}` have no effect: {}.",
                file.path,
                shown::list(&lost, 12)
            ),
            "Keep the CRI plugin's settings in one file. containerd 2.0 and newer merge the tables key by key, so after an \
             upgrade the lost settings take effect again.",
        );
    }
}

/// Reports old CRI tables that 2.0 to 2.2 drop: the last file's `version` applies to all files, and the old table is moved
/// only if that version is less than 3.
fn hidden(input: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &input.config.document;
    if document.schema < 3 {
        return;
    }
    let raising = document
        .files
        .iter()
        .rposition(|file| file.schema.is_some_and(|schema| schema >= 3));
    let Some((raising, newer)) = raising.and_then(|index| Some((index, document.files.get(index)?))) else {
        return;
    };
    for file in document.files.iter().filter(|file| file.schema == Some(2)) {
        let Some(table) = plugin(input, file, CRI_TWO).and_then(Value::as_table) else {
            continue;
        };
        let lost: Vec<String> = table.keys().map(|key| format!("`{}`", written_url(key))).collect();
        if lost.is_empty() {
            continue;
        }
        let version = document.field(&newer.parsed.root, "version");
        let at = version.map_or(0, |version| version.span.start);
        found.add(
            FindingId::DropInHidesTable,
            Some(document.place_of(raising, at)),
            format!(
                "This file has `version = {}`, and `{}` has `version = 2`.",
                document.schema, file.path
            ),
            format!(
                "containerd 2.0 to 2.2 then read all files as version {} and drop `plugins.\"{CRI_TWO}\"` of `{}`: {}. \
                 Registries, runtimes and the pause image are lost without an error.",
                document.schema,
                file.path,
                shown::list(&lost, 12)
            ),
            "Write all files in one version: `containerd config migrate` prints the older file in the newer version.",
        );
    }
}
