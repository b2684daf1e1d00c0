//! `config_path`: whether the folders it names are looked in.

use crate::config::Cri;
use crate::findings::catalogue::FindingId;
use crate::findings::{FinderInput, FindingSink};
use crate::rules::Rule;
use crate::tree::Entry;

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    let Some(path) = &look.registry.config_path else { return };
    let is_list = path.value.contains(':');
    let splits = look.registry.local_pull;
    if is_list {
        list(look, &path.value, splits, found);
    }
    // What containerd fills in by itself is no mistake of anybody.
    if look.written_path().is_some() && (!is_list || splits) {
        for root in look.config.hosts_roots() {
            folder(look, &root, found);
        }
    }
    if matches!(look.config.cri, Cri::Loads) && !look.version.has(Rule::DefaultDirectory) {
        default_directory(look, found);
    }
}

fn list(look: &FinderInput<'_>, value: &str, splits: bool, found: &mut FindingSink) {
    let place = look.written_path().cloned();
    let written = place.is_some();
    let used: Vec<&str> = value.split(':').filter(|root| holds_directories(look, root)).collect();
    // The default list harms nobody while no folder of it is used.
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
        Some(root) if used.len() == 1 => format!("Write the one folder that is used: `config_path = \"{root}\"`."),
        _ => "Put all hosts directories in one folder and write that one, such as `config_path = \
              \"/etc/containerd/certs.d\"`."
            .to_owned(),
    };
    if !splits {
        let effect = "Pulls go through the transfer service, which takes the whole list for the name of one folder, finds \
                      nothing there and asks the registry itself (containerd issues 12415 and 12636).";
        let remedy = format!("{remedy} `use_local_image_pull = true` keeps the list working for now.");
        found.add(FindingId::ConfigPathListIgnored, place, what, effect, remedy);
    } else if look.version.has(Rule::TransferService) {
        let effect = "Each folder is looked in, but only because another setting keeps pulls away from the transfer service, \
                      which does not split the list: without that setting every hosts.toml is skipped.";
        found.add(FindingId::ConfigPathListFragile, place, what, effect, remedy);
    } else if written {
        let effect = "This containerd looks in each folder. From 2.1 on pulls go through the transfer service, which takes the \
                      list for one folder and skips every hosts.toml.";
        found.add(FindingId::ConfigPathListFragile, place, what, effect, remedy);
    }
}

fn holds_directories(look: &FinderInput<'_>, root: &str) -> bool {
    matches!(look.tree.get(root), Some(Entry::Folder(names)) if !names.is_empty())
}

fn folder(look: &FinderInput<'_>, root: &str, found: &mut FindingSink) {
    let place = look.written_path().cloned();
    if !root.starts_with('/') {
        found.add(
            FindingId::ConfigPathRelative,
            place,
            format!("`config_path` names `{root}`, which is relative."),
            "containerd looks for it below its working directory, which is `/` under systemd, and not beside this file.",
            "Write the whole path, such as `/etc/containerd/certs.d`.",
        );
        return;
    }
    let what = match look.tree.get(root) {
        Some(Entry::Absent) => "does not exist",
        Some(Entry::File(_)) => "is a file",
        _ => return,
    };
    found.add(
        FindingId::ConfigPathMissing,
        place,
        format!("`config_path` names `{root}`, which {what}."),
        "containerd finds no hosts.toml and asks every registry itself.",
        "Create the folder with a directory for each registry, or correct the path.",
    );
}

fn default_directory(look: &FinderInput<'_>, found: &mut FindingSink) {
    for root in look.config.hosts_roots() {
        let directory = format!("{root}/_default");
        if !matches!(look.tree.get(&directory), Some(Entry::Folder(_))) {
            continue;
        }
        found.add(
            FindingId::DefaultDirectoryUnsupported,
            look.written_path().cloned(),
            format!(
                "`{directory}` exists, and containerd {} does not look for one.",
                look.version
            ),
            "Registries without a directory of their own are asked directly.",
            "Upgrade containerd to 1.6.17 or newer, or write a directory for each registry.",
        );
    }
}
