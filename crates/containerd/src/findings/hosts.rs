//! Faults of the hosts directories that are in force, and directories that no registry is looked up in.

use crate::config::registry_of_directory;
use crate::findings::catalogue::FindingId;
use crate::findings::keys::never_matches;
use crate::findings::{FinderInput, FindingSink, shown};
use crate::hosts::error::HostsFaultKind as Kind;
use crate::hosts::lint::hosts_faults;
use crate::rules::Rule;
use crate::tree::Entry;

const DEFAULT: &str = "_default";

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    for root in look.config.hosts_roots() {
        let Some(Entry::Folder(names)) = look.tree.get(&root) else {
            continue;
        };
        for name in names {
            let folder = format!("{root}/{name}");
            let is_folder = matches!(look.tree.get(&folder), Some(Entry::Folder(_)));
            // Whatever else lies about there is nobody's registry.
            if is_folder {
                directory(look, name, &folder, found);
            }
        }
    }
}

fn directory(look: &FinderInput<'_>, name: &str, folder: &str, found: &mut FindingSink) {
    if name == DEFAULT {
        if look.version.has(Rule::DefaultDirectory) {
            faults(look, "every registry without a directory", folder, found);
        }
        return;
    }
    // Other programs keep folders such as `_backup` there.
    if name.starts_with(['_', '.']) {
        return;
    }
    let registry = registry_of_directory(name);
    let Some((why, _)) = never_matches(&registry) else {
        faults(look, &format!("`{registry}`"), folder, found);
        return;
    };
    let place = crate::route::SourceLocation {
        path: folder.to_owned(),
        line: None,
    };
    found.add(
        FindingId::HostsDirectoryNeverMatches,
        Some(place),
        format!("No image is looked up in the directory `{}`.", shown::url(name)),
        why,
        "Name the directory after the registry of the images: `host`, `host:port` or `host_port_`; `docker.io` for Docker Hub.",
    );
}

fn faults(look: &FinderInput<'_>, whose: &str, folder: &str, found: &mut FindingSink) {
    // Of two directories of one registry containerd reads the first, and so nobody asked for the files of the other.
    if look.tree.get(&format!("{folder}/hosts.toml")).is_none() {
        return;
    }
    for fault in hosts_faults(look.version, look.tree, folder) {
        let what = format!("For {whose}: {}.", fault.found);
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
        Kind::Unsure => FindingId::HostsUnsure,
        Kind::Unusable => FindingId::HostsUnusableFile,
        Kind::HostNotSeen => FindingId::HostsHostNotSeen,
        Kind::HostTwice => FindingId::HostsHostTwice,
        Kind::OrderUndefined => FindingId::HostsOrderUndefined,
        Kind::NotAsked => FindingId::HostsNotAsked,
        Kind::SchemeMissing => FindingId::HostsSchemeMissing,
        Kind::Ignored => FindingId::HostsIgnoredSetting,
        Kind::HttpsFirst => FindingId::HostsHttpsFirst,
        Kind::DockerIoServer => FindingId::HostsDockerIoServer,
    }
}
