//! The moves of tables from older schemas to their new names, as in 2.x.

use crate::document::{CRI_IMAGES, CRI_ONE, CRI_TWO};
use crate::toml::value::{Table, Value, ValueKind};

/// Renames the CRI table of a version 1 file as 2.x does.
pub(super) fn rename_version_one(plugins: &mut Table) {
    if let Some(cri) = plugins.shift_remove(CRI_ONE) {
        plugins.insert(CRI_TWO.to_owned(), cri);
    }
}

/// The keys that move unchanged from the old CRI table to the image table (`migrateConfig` in
/// plugins/cri/images/plugin.go).
const MOVED: &[&str] = &["registry", "max_concurrent_downloads", "image_pull_with_sync_fs"];
/// The keys that move from its `containerd` table, only if that table has `runtimes`.
const MOVED_FROM_CONTAINERD: &[&str] = &["snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"];

/// The file index of a value that is not in any file.
const NO_FILE: usize = usize::MAX;

/// Moves the image settings of the old CRI table over those of the new one. It replaces the whole `registry` table.
pub(super) fn move_image_settings(plugins: &mut Table, fill_config_path: Option<&str>) {
    let Some(source) = plugins.get(CRI_TWO).and_then(Value::as_table).cloned() else {
        return;
    };
    let (file, span) = plugins
        .get(CRI_TWO)
        .map_or((0, 0..0), |value| (value.file, value.span.clone()));
    let target = plugins.entry(CRI_IMAGES.to_owned()).or_insert_with(|| Value {
        kind: ValueKind::Table(Table::new()),
        file,
        span,
    });
    let ValueKind::Table(target) = &mut target.kind else {
        return;
    };
    for key in MOVED {
        if let Some(value) = source.get(*key) {
            target.insert((*key).to_owned(), value.clone());
        }
    }
    if let (Some(default), Some(ValueKind::Table(registry))) = (
        fill_config_path,
        target.get_mut("registry").map(|value| &mut value.kind),
    ) && let Some(value) = registry.get_mut("config_path")
        && value.as_str() == Some("")
    {
        value.kind = ValueKind::String(default.to_owned());
        value.file = NO_FILE;
    }
    let Some(containerd) = source.get("containerd").and_then(Value::as_table) else {
        return;
    };
    if !containerd.contains_key("runtimes") {
        return;
    }
    for key in MOVED_FROM_CONTAINERD {
        if let Some(value) = containerd.get(*key) {
            target.insert((*key).to_owned(), value.clone());
        }
    }
}
