//! The search for faults and likely mistakes in a registry's hosts directory, for one release.

use crate::hosts::builder::{can_be_contacted, https_first};
use crate::hosts::error::{HostsFault, HostsFaultKind as Kind, HostsFileError};
use crate::hosts::fields::{Host, HostsFile};
use crate::hosts::file::{self, Hosts, is_inline, line_of, title};
use crate::hosts::lookup::TrackedTree;
use crate::hosts::{FILE, tls_files, url};
use crate::redact::written_url;
use crate::rules::Rule;
use crate::toml::value::Value;
use crate::toml::{Parsed, line_at};
use crate::tree::{Entry, Tree};
use crate::version::Version;
use std::collections::BTreeSet;

/// Returns the faults of `folder`, as far as its files were read; none if it does not exist.
///
/// It checks the certificate files that the hosts.toml names, or those in the folder if containerd does not use the file.
pub fn hosts_faults(version: &Version, tree: &Tree, folder: &str) -> Vec<HostsFault> {
    let tracked = TrackedTree::new(tree);
    let path = url::join(folder, FILE);
    let errors = match tracked.at(folder) {
        Entry::Absent => Vec::new(),
        Entry::Folder(names) => of_folder(version, &tracked, folder, names),
        Entry::File(_) | Entry::Unusable(_) => {
            vec![unusable(
                format!("`{folder}` is not a folder"),
                "Replace it with a folder, or remove it.",
                None,
            )]
        }
    };
    errors.into_iter().map(|error| error.at(&path)).collect()
}

fn unusable(found: String, remedy: &str, line: Option<usize>) -> HostsFileError {
    HostsFileError {
        kind: Kind::Unusable,
        found,
        line,
        remedy: remedy.to_owned(),
    }
}

fn of_folder(version: &Version, tree: &TrackedTree<'_>, folder: &str, names: &[String]) -> Vec<HostsFileError> {
    let plain = "Replace it with a regular file that containerd can read.";
    let mut faults = Vec::new();
    let mut used = None;
    match tree.at(&url::join(folder, FILE)) {
        Entry::Folder(_) => return vec![unusable("hosts.toml is a folder".to_owned(), plain, None)],
        Entry::Unusable(what) => return vec![unusable(format!("hosts.toml {what}"), plain, None)],
        Entry::File(bytes) if !bytes.is_empty() => match file::read(version, folder, bytes) {
            Ok(hosts) => {
                faults = of_file(version, folder, bytes, &hosts);
                used = Some(hosts);
            }
            Err(error) if error.kind.discards_file() => faults.push(error),
            Err(error) => return vec![error],
        },
        Entry::File(_) | Entry::Absent => {}
    }
    let certificates = || {
        Ok(Hosts {
            root: tls_files::of_folder(tree, folder, names)?,
            ..Hosts::default()
        })
    };
    let remedy = "Create the file, or remove the setting.";
    match used.map_or_else(certificates, Ok) {
        Ok(hosts) => {
            let bad = |host: &Host| Some(unusable(tls_files::check(tree, host).err()?, remedy, host.line));
            faults.extend(hosts.tables.iter().chain([&hosts.root]).filter_map(bad));
        }
        Err(found) => faults.push(unusable(found, remedy, None)),
    }
    faults
}

/// Returns the faults of a file that the release uses.
fn of_file(version: &Version, folder: &str, bytes: &[u8], hosts: &Hosts) -> Vec<HostsFileError> {
    let Ok(parsed) = file::parse(version, bytes) else {
        return Vec::new();
    };
    let file = HostsFile {
        version,
        folder,
        text: &parsed.text,
    };
    let mut faults = order_faults(version, &parsed);
    let mut seen = BTreeSet::new();
    let mut each: Vec<&Host> = hosts.tables.iter().filter(|host| seen.insert(&host.written)).collect();
    each.push(&hosts.root);
    faults.extend(each.iter().filter_map(|host| url_fault(host)));
    for host in each {
        if can_be_contacted(host) && https_first(version, host) {
            faults.push(HostsFileError {
                kind: Kind::HttpsFirst,
                found: format!("TLS settings for `http://{}`", host.authority),
                line: host.line,
                remedy: "Write `https://`, or remove `skip_verify`, `ca` and `client`.".to_owned(),
            });
        }
    }
    if hosts.root.authority.is_empty() {
        for key in ["capabilities", "override_path"] {
            faults.extend(file.all(&[&parsed.root], key).into_iter().map(|value| {
                ignored(
                    &parsed,
                    value,
                    format!("`{key}` without a `server`"),
                    "Add a `server`, or remove the key.",
                )
            }));
        }
    }
    let named = file
        .all(&[&parsed.root], "host")
        .into_iter()
        .filter_map(Value::as_table)
        .flat_map(|hosts| hosts.values());
    let tables = named.filter_map(Value::as_table).map(|table| (table, false));
    for (table, root) in tables.chain([(&parsed.root, true)]) {
        for (name, value) in file.unknown(table, root) {
            let found = match name {
                "server" | "host" => format!("`{name}` in a host, where it has no effect"),
                _ => format!("`{name}`, which containerd {version} does not know"),
            };
            faults.push(ignored(
                &parsed,
                value,
                found,
                "Correct the spelling, or remove the key.",
            ));
        }
    }
    faults
}

fn ignored(parsed: &Parsed, value: &Value, found: String, remedy: &str) -> HostsFileError {
    let line = Some(line_at(&parsed.text, value.span.start));
    HostsFileError {
        kind: Kind::Ignored,
        found,
        line,
        remedy: remedy.to_owned(),
    }
}

fn order_faults(version: &Version, parsed: &Parsed) -> Vec<HostsFileError> {
    let Some(hosts) = parsed.root.get("host").and_then(Value::as_table) else {
        return Vec::new();
    };
    if !version.has(Rule::HostsAreHeaders) {
        let inline: Vec<_> = hosts.iter().filter(|(_, value)| is_inline(parsed, value)).collect();
        let second = inline.get(1).map(|(name, _)| HostsFileError {
            kind: Kind::OrderUndefined,
            found: format!("{} hosts as inline tables", inline.len()),
            line: line_of(parsed, name),
            remedy: "Write a header `[host.\"…\"]` for each host.".to_owned(),
        });
        return second.into_iter().collect();
    }
    let order = file::headers(parsed);
    let mut seen = BTreeSet::new();
    let twice = order
        .iter()
        .filter(|name| !seen.insert(*name))
        .map(|name| HostsFileError {
            kind: Kind::HostTwice,
            found: format!("a table of {} after another host", title(name)),
            line: line_of(parsed, name),
            remedy: "Move the table up to the other tables of its host.".to_owned(),
        });
    let unseen = hosts
        .keys()
        .filter(|name| !name.is_empty() && !order.contains(name))
        .map(|name| HostsFileError {
            kind: Kind::HostNotSeen,
            found: format!("`{}` as an inline table or dotted key", written_url(name)),
            line: line_of(parsed, name),
            remedy: format!("Write it as a header: {}.", title(name)),
        });
    twice.chain(unseen).collect()
}

fn url_fault(host: &Host) -> Option<HostsFileError> {
    let written = &host.written;
    let whole = "Write the full URL, `https://host:port` or `http://host:port`, with a lower-case scheme.";
    let (kind, found, remedy) = if written.is_empty() {
        return None;
    } else if !can_be_contacted(host) {
        (
            Kind::NeverContacted,
            format!(
                "`{}`, which names a host that containerd cannot contact",
                written_url(written)
            ),
            whole,
        )
    } else if !written.starts_with("http") {
        (
            Kind::SchemeMissing,
            format!("`{}`, which has no scheme", written_url(written)),
            whole,
        )
    } else if host.authority == "docker.io" {
        (
            Kind::DockerIoServer,
            "`docker.io` as a host".to_owned(),
            "Write `https://registry-1.docker.io`.",
        )
    } else {
        return None;
    };
    Some(HostsFileError {
        kind,
        found,
        line: host.line,
        remedy: remedy.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(release: &str, text: &str) -> Vec<(Kind, Option<usize>)> {
        let mut tree = Tree::new();
        tree.insert("/c/r", Entry::Folder(vec![FILE.to_owned()]));
        tree.insert("/c/r/hosts.toml", Entry::File(text.as_bytes().to_vec()));
        let faults = hosts_faults(&release.parse().unwrap(), &tree, "/c/r");
        faults.iter().map(|fault| (fault.kind, fault.place.line)).collect()
    }

    #[test]
    fn faults_have_line_and_release() {
        use Kind as K;
        let good = "server = \"https://s\"\n[host.\"http://m\"]\ncapabilities = [\"pull\"]\n[host.\"http://m\".header]\na = \"b\"\n";
        for (text, one, two) in [
            (good, None, None),
            ("a = 1\n[host.x\n", Some((K::Syntax, 2)), Some((K::Syntax, 2))),
            (
                "[host.\"https://m\"]\nca = 5\n",
                Some((K::WrongType, 2)),
                Some((K::WrongType, 2)),
            ),
            (
                "[host.\"https://m\"]\nskip_verify = 1\n",
                Some((K::WrongType, 2)),
                Some((K::WrongType, 2)),
            ),
            (
                "[host.\"https://m\"]\ncapabilities = [\"x\"]\n",
                Some((K::UnknownCapability, 2)),
                Some((K::UnknownCapability, 2)),
            ),
            (
                "[host.\"https://m\"]\ncapabilities = [\"referrers\"]\n",
                Some((K::UnknownCapability, 2)),
                None,
            ),
            ("\n[host.\"https://m:x\"]\n", Some((K::BadUrl, 2)), Some((K::BadUrl, 2))),
            (
                "[host.\"https://m\"]\ndial_timeout = \"5\"\n",
                Some((K::Ignored, 2)),
                Some((K::BadDuration, 2)),
            ),
            ("[host]\na = 1\nb = 2\n", Some((K::Crash, 2)), Some((K::WrongType, 2))),
            (
                "[host] [host.\"https://m\"]\n",
                Some((K::EffectUnknown, 1)),
                Some((K::Syntax, 1)),
            ),
            (
                "[host.\"https://m\"]\nca = \"none\"\n",
                Some((K::Unusable, 1)),
                Some((K::Unusable, 1)),
            ),
            ("[host]\n\"https://m\" = {}\n", None, Some((K::HostNotSeen, 2))),
            (
                "[host]\n\"https://m\" = {}\n\"https://n\" = {}\n[host.\"https://o\"]\n",
                Some((K::OrderUndefined, 3)),
                Some((K::HostNotSeen, 2)),
            ),
            (
                "[host.\"https://m\"]\n[host.\"https://n\"]\n[host.\"https://m\".header]\n",
                None,
                Some((K::HostTwice, 1)),
            ),
            (
                "[host.\"httpbin:5000\"]\n",
                Some((K::NeverContacted, 1)),
                Some((K::NeverContacted, 1)),
            ),
            (
                "server = \"mirror:5000\"\n[host]\n",
                Some((K::SchemeMissing, 1)),
                Some((K::SchemeMissing, 1)),
            ),
            (
                "server = \"https://docker.io\"\n[host]\n",
                Some((K::DockerIoServer, 1)),
                Some((K::DockerIoServer, 1)),
            ),
            (
                "[host.\"https://m\"]\nskip-verify = true\n",
                Some((K::Ignored, 2)),
                Some((K::Ignored, 2)),
            ),
            (
                "override_path = true\n[host]\n",
                Some((K::Ignored, 1)),
                Some((K::Ignored, 1)),
            ),
            (
                "\n[host.\"http://m:5000\"]\nskip_verify = true\n",
                Some((K::HttpsFirst, 2)),
                Some((K::HttpsFirst, 2)),
            ),
        ] {
            for (release, expected) in [("1.7.24", one), ("2.2.1", two)] {
                let first = faults(release, text)
                    .first()
                    .map(|(kind, line)| (*kind, line.unwrap_or(0)));
                assert_eq!(first, expected, "{release}: {text}");
            }
        }
        assert_eq!(faults("1.7.24", "server = \"https://s\"\n"), [(K::NoHostTable, None)]);
        assert_eq!(faults("2.1.9", "server = \"https://s\"\n"), []);
    }

    #[test]
    fn faults_contain_no_secrets() {
        let text = "[host.\"https://user:hunter2@m:x\"]\n[host.\"https://m\".header]\nauthorization = 5\n";
        let mut tree = Tree::new();
        tree.insert("/c/r", Entry::Folder(Vec::new()));
        for text in [
            text,
            "[host.\"ftp+x://user:hunter2@m\"]\n",
            "[host.\"https://user:hunter2@m/x\"\n",
            "server = \"https://user:hunter2@m\" x\n",
            "[host.\"https://m\"]\nheader = { a = [\"hunter2\", 1] }\n",
        ] {
            tree.insert("/c/r/hosts.toml", Entry::File(text.as_bytes().to_vec()));
            for release in ["1.7.24", "2.4.2"] {
                let faults = hosts_faults(&release.parse().unwrap(), &tree, "/c/r");
                assert!(
                    !faults.is_empty() && !format!("{faults:?}").contains("hunter2"),
                    "{faults:?}"
                );
            }
        }
    }

    #[test]
    fn unusable_entries_are_faults() {
        let version = "2.1.9".parse().unwrap();
        for (folder, file) in [
            (Entry::File(Vec::new()), Entry::Absent),
            (Entry::Unusable("is a FIFO".to_owned()), Entry::Absent),
            (Entry::Folder(Vec::new()), Entry::Folder(Vec::new())),
            (Entry::Folder(Vec::new()), Entry::Unusable("is a FIFO".to_owned())),
            (Entry::Folder(vec!["x.crt".to_owned()]), Entry::Absent),
        ] {
            let mut tree = Tree::new();
            tree.insert("/c/r", folder);
            tree.insert("/c/r/hosts.toml", file);
            let faults = hosts_faults(&version, &tree, "/c/r");
            assert!(
                matches!(faults.as_slice(), [fault] if fault.kind == Kind::Unusable),
                "{faults:?}"
            );
        }
        assert!(hosts_faults(&version, &Tree::new(), "/c/r").is_empty());
    }
}
