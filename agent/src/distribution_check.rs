//! Determines from files whether a distribution writes a node's configuration.

use mirrorshift_containerd::{Entry, Tree};
use mirrorshift_node::{DetectionInput, Marker, owner};
use mirrorshift_plan::preflight::Owner;
use std::fs;
use std::path::Path;

/// The files from which a distribution is recognized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'e> {
    pub(crate) root: &'e Path,
    /// The path of containerd's configuration, as the node sees it.
    pub(crate) config: &'e str,
    pub(crate) version: &'e str,
    /// The files that were read.
    pub(crate) tree: &'e Tree,
}

/// Returns the distribution that writes the configuration, if the table of distributions has it.
pub(crate) fn managing_distribution(evidence: &Evidence<'_>) -> Option<Owner> {
    let on_disk = |path: &str| evidence.root.join(path.trim_start_matches('/'));
    let config_text = match evidence.tree.get(evidence.config) {
        Some(Entry::File(contents)) => String::from_utf8_lossy(contents).into_owned(),
        _ => String::new(),
    };
    let os_release = fs::read_to_string(on_disk("/etc/os-release")).unwrap_or_default();
    let found = owner(&DetectionInput {
        config: evidence.config.to_owned(),
        config_real: fs::read_link(on_disk(evidence.config))
            .ok()
            .map(|target| target.display().to_string()),
        unit: None,
        version: Some(evidence.version.to_owned()),
        os: os_release
            .lines()
            .find_map(|line| line.trim().strip_prefix("ID="))
            .map(|id| id.trim_matches(['"', '\'']).to_owned()),
        present: Marker::paths()
            .into_iter()
            .filter(|path| fs::symlink_metadata(on_disk(path)).is_ok())
            .map(str::to_owned)
            .collect(),
        markers: Marker::markers(&config_text),
    })?;
    Some(Owner {
        name: found.name.to_owned(),
        way: found.advice.to_owned(),
    })
}
