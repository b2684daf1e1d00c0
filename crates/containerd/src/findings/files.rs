//! Files and the way they are put together: imports, drop-ins, bytes at the start.

use crate::document::{CRI_TWO, ConfigFile, LoadWarning};
use crate::findings::catalogue::FindingId;
use crate::findings::live::each_leaf;
use crate::findings::{FinderInput, FindingSink, shown};
use crate::rules::Rule;
use crate::toml::value::{Table, Value};
use std::collections::BTreeSet;

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    for remark in &look.config.document.remarks {
        remarked(remark, found);
    }
    for (index, file) in look.config.document.files.iter().enumerate() {
        if file.parsed.text.starts_with('\u{feff}') {
            found.add(
                FindingId::ByteOrderMark,
                Some(look.config.document.place_of(index, 0)),
                "The file starts with a byte order mark.",
                "This containerd skips it. containerd 2.x does not start on it.",
                "Save the file as UTF-8 without a byte order mark.",
            );
        }
    }
    if !look.version.has(Rule::PluginTablesMerged) {
        replaced(look, found);
    }
    if look.version.has(Rule::MovedOnceAfterMerge) {
        hidden(look, found);
    }
}

fn remarked(remark: &LoadWarning, found: &mut FindingSink) {
    match remark {
        LoadWarning::ImportedAgain { place, path } => found.add(
            FindingId::ImportedAgain,
            Some(place.clone()),
            format!("`imports` leads to `{path}` again."),
            "containerd loads a file once, at the place where it met it first.",
            "Take the import out.",
        ),
        LoadWarning::GlobBelowWorkingDirectory { place, pattern } => found.add(
            FindingId::RelativeImportGlob,
            Some(place.clone()),
            format!("`imports` has the relative pattern `{pattern}`."),
            "This containerd looks it up below its working directory, which is `/` under systemd, and not beside this file; \
             1.6.29, 1.7.16 and newer look beside the file.",
            "Write the whole path, such as `/etc/containerd/conf.d/*.toml`.",
        ),
    }
}

/// The plugin tables of a file, whatever the case of `plugins` in it.
fn plugin<'f>(look: &FinderInput<'_>, file: &'f ConfigFile, name: &str) -> Option<&'f Value> {
    let plugins = look.config.document.field(&file.parsed.root, "plugins")?;
    plugins.as_table()?.get(name)
}

fn paths(table: &Table) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    each_leaf(table, &mut Vec::new(), &mut |path, value| {
        // An empty table says nothing that could be lost.
        if value.as_table().is_none() {
            paths.push(path.to_vec());
        }
    });
    paths
}

/// Before 2.0 a later file's plugin table takes the place of an earlier one, with all that is in it.
fn replaced(look: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &look.config.document;
    let name = document.active_plugin_table();
    let tables: Vec<(usize, &Value, &Table)> = document
        .files
        .iter()
        .enumerate()
        .filter_map(|(index, file)| {
            let value = plugin(look, file, name)?;
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
            .map(|path| format!("`{}`", shown::url(&path.join("."))))
            .collect();
        let Some(file) = document.files.get(*index).filter(|_| !lost.is_empty()) else {
            continue;
        };
        found.add(
            FindingId::DropInReplacesTable,
            Some(document.place_of(*later, value.span.start)),
            format!("This file has a table `plugins.\"{name}\"`, and so has `{}`, which is loaded before it.", file.path),
            format!(
                "containerd 1.x puts the later table in the place of the earlier one, so these settings of `{}` have no \
                 effect: {}.",
                file.path,
                shown::list(&lost, 12)
            ),
            "Keep the CRI plugin's settings in one file. containerd 2.0 and newer merge them key by key, so an upgrade brings \
             the lost ones back.",
        );
    }
}

/// From 2.0 to 2.2 the version of the last file decides for all, and the older table is moved only below version 3.
fn hidden(look: &FinderInput<'_>, found: &mut FindingSink) {
    let document = &look.config.document;
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
        let Some(table) = plugin(look, file, CRI_TWO).and_then(Value::as_table) else {
            continue;
        };
        let lost: Vec<String> = table.keys().map(|key| format!("`{}`", shown::url(key))).collect();
        if lost.is_empty() {
            continue;
        }
        let version = document.field(&newer.parsed.root, "version");
        let at = version.map_or(0, |version| version.span.start);
        found.add(
            FindingId::DropInHidesTable,
            Some(document.place_of(raising, at)),
            format!("This file says `version = {}`, and `{}` says 2.", document.schema, file.path),
            format!(
                "containerd 2.0 to 2.2 take everything for version {} then and drop `plugins.\"{CRI_TWO}\"` of `{}`: {}. \
                 Registries, runtimes and the pause image are lost without an error.",
                document.schema,
                file.path,
                shown::list(&lost, 12)
            ),
            "Bring all files to one version: `containerd config migrate` prints the older one in the newer form.",
        );
    }
}
