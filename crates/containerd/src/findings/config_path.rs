//! Findings about `config_path` and the folders that it names.

use crate::config::Cri;
use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::rules::Rule;
use crate::tree::Entry;

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    let Some(path) = &input.registry.config_path else {
        return;
    };
    let is_list = path.value.contains(':');
    let splits = input.registry.local_pull;
    if is_list {
        list(input, &path.value, splits, found);
    }
    // A default that containerd sets is not a mistake in the files.
    if input.written_path().is_some() && (!is_list || splits) {
        for root in input.config.hosts_roots() {
            folder(input, &root, found);
        }
    }
    if matches!(input.config.cri, Cri::Loads) && !input.version.has(Rule::DefaultDirectory) {
        default_directory(input, found);
    }
}

fn list(input: &FinderInput<'_>, value: &str, splits: bool, found: &mut FindingSink) {
    let place = input.written_path().cloned();
    let written = place.is_some();
    let used: Vec<&str> = value.split(':').filter(|root| holds_directories(input, root)).collect();
    // The default list does no harm while its folders are not used.
    if !written && used.is_empty() {
        return;
    }
    let by = if written {
        "lists several folders"
    } else {
        "is a list of two folders by default"
    };
    let what = format!("`config_path` {by}: `{value}`.");
    let remedy = match used.first() {
        Some(root) if used.len() == 1 => format!("Write only the folder that is used: `config_path = \"{root}\"`."),
        _ => "Move all hosts directories to one folder and write only that folder, such as `config_path = \
              \"/etc/containerd/certs.d\"`."
            .to_owned(),
    };
    if !splits {
        let effect = "The transfer service makes the pulls. It takes the whole list for the name of one folder, finds no \
                      hosts.toml and contacts the registry directly (containerd issues 12415 and 12636).";
        let remedy = format!("{remedy} `use_local_image_pull = true` makes the list work for now.");
        found.add(FindingId::ConfigPathListIgnored, place, what, effect, remedy);
    } else if input.version.has(Rule::TransferService) {
        let effect = "containerd searches each folder, but only because another setting keeps pulls away from the transfer \
                      service, which does not split the list. Without that setting it ignores every hosts.toml.";
        found.add(FindingId::ConfigPathListFragile, place, what, effect, remedy);
    } else if written {
        let effect = "This containerd searches each folder. From 2.1 on the transfer service makes the pulls; it takes the list \
                      for the name of one folder and ignores every hosts.toml.";
        found.add(FindingId::ConfigPathListFragile, place, what, effect, remedy);
    }
}

fn holds_directories(input: &FinderInput<'_>, root: &str) -> bool {
    matches!(input.tree.get(root), Some(Entry::Folder(names)) if !names.is_empty())
}

fn folder(input: &FinderInput<'_>, root: &str, found: &mut FindingSink) {
    let place = input.written_path().cloned();
    if !root.starts_with('/') {
        found.add(
            FindingId::ConfigPathRelative,
            place,
            format!("`config_path` names `{root}`, which is a relative path."),
            "containerd resolves it in its working directory, which is `/` under systemd, not in the folder of this file.",
            "Write the absolute path, such as `/etc/containerd/certs.d`.",
        );
        return;
    }
    let what = match input.tree.get(root) {
        Some(Entry::Absent) => "does not exist",
        Some(Entry::File(_)) => "is a file",
        _ => return,
    };
    found.add(
        FindingId::ConfigPathMissing,
        place,
        format!("`config_path` names `{root}`, which {what}."),
        "containerd finds no hosts.toml and contacts every registry directly.",
        "Create the folder with a directory for each registry, or correct the path.",
    );
}

fn default_directory(input: &FinderInput<'_>, found: &mut FindingSink) {
    for root in input.config.hosts_roots() {
        let directory = format!("{root}/_default");
        if !matches!(input.tree.get(&directory), Some(Entry::Folder(_))) {
            continue;
        }
        found.add(
            FindingId::DefaultDirectoryUnsupported,
            input.written_path().cloned(),
            format!(
                "`{directory}` exists, and containerd {} does not read it.",
                input.version
            ),
            "containerd contacts a registry without its own directory directly.",
            "Upgrade containerd to 1.6.17 or newer, or write a directory for each registry.",
        );
    }
}
