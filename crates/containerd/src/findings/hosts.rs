//! Findings about the hosts directories in effect, and about directories that do not match any registry.

use crate::config::registry_of_directory;
use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::findings::keys::never_matches;
use crate::hosts::error::HostsFaultKind as Kind;
use crate::hosts::lint::hosts_faults;
use crate::redact::written_url;
use crate::rules::Rule;
use crate::tree::Entry;

const DEFAULT: &str = "_default";

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    for root in input.config.hosts_roots() {
        let Some(Entry::Folder(names)) = input.tree.get(&root) else {
            continue;
        };
        for name in names {
            let folder = format!("{root}/{name}");
            let is_folder = matches!(input.tree.get(&folder), Some(Entry::Folder(_)));
            // containerd does not read files in this folder.
            if is_folder {
                directory(input, name, &folder, found);
            }
        }
    }
}

fn directory(input: &FinderInput<'_>, name: &str, folder: &str, found: &mut FindingSink) {
    if name == DEFAULT {
        if input.version.has(Rule::DefaultDirectory) {
            faults(input, "every registry without its own directory", folder, found);
        }
        return;
    }
    // Other programs keep folders such as `_backup` there.
    if name.starts_with(['_', '.']) {
        return;
    }
    let registry = registry_of_directory(name);
    let Some((why, _)) = never_matches(&registry) else {
        faults(input, &format!("`{registry}`"), folder, found);
        return;
    };
    let place = crate::route::SourceLocation {
        path: folder.to_owned(),
        line: None,
    };
    found.add(
        FindingId::HostsDirectoryNeverMatches,
        Some(place),
        format!("The directory `{}` does not match the registry of any image.", written_url(name)),
        why,
        "Rename the directory to the registry of the images: `host`, `host:port` or `host_port_`; `docker.io` for Docker Hub.",
    );
}

fn faults(input: &FinderInput<'_>, subject: &str, folder: &str, found: &mut FindingSink) {
    // If a registry has two directories, containerd reads the first. The files of the other were not requested.
    if input.tree.get(&format!("{folder}/hosts.toml")).is_none() {
        return;
    }
    for fault in hosts_faults(input.version, input.tree, folder) {
        let what = format!("For {subject}: {}.", fault.found);
        found.add(
            id(fault.kind),
            Some(fault.place),
            what,
            fault.kind.effect(),
            fault.remedy,
        );
    }
}

fn id(kind: Kind) -> FindingId {
    match kind {
        Kind::Syntax => FindingId::HostsSyntax,
        Kind::WrongType => FindingId::HostsWrongType,
        Kind::UnknownCapability => FindingId::HostsUnknownCapability,
        Kind::BadUrl => FindingId::HostsBadUrl,
        Kind::BadDuration => FindingId::HostsBadDuration,
        Kind::NoHostTable => FindingId::HostsNoHostTable,
        Kind::Crash => FindingId::HostsCrash,
        Kind::EffectUnknown => FindingId::HostsEffectUnknown,
        Kind::Unusable => FindingId::HostsUnusableFile,
        Kind::HostNotSeen => FindingId::HostsHostNotSeen,
        Kind::HostTwice => FindingId::HostsHostTwice,
        Kind::OrderUndefined => FindingId::HostsOrderUndefined,
        Kind::NeverContacted => FindingId::HostsNeverContacted,
        Kind::SchemeMissing => FindingId::HostsSchemeMissing,
        Kind::Ignored => FindingId::HostsIgnoredSetting,
        Kind::HttpsFirst => FindingId::HostsHttpsFirst,
        Kind::DockerIoServer => FindingId::HostsDockerIoServer,
    }
}
