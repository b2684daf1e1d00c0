//! A hosts.toml: its hosts, in the order in which a release asks them.

use crate::hosts::error::{HostsFaultKind, HostsFileError};
use crate::hosts::fields::{CaFile, Host, shown};
use crate::rules::Rule;
use crate::toml::dialect::AcceptedBy;
use crate::toml::layout::Expression;
use crate::toml::value::{Table, Value, ValueKind};
use crate::toml::{
    Parsed, line_at, {self},
};
use crate::version::Version;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The hosts of one file.
#[derive(Default)]
pub(super) struct Hosts {
    /// In the order asked.
    pub(super) tables: Vec<Host>,
    /// The last one asked, made of the settings at the top of the file, with or without a `server`.
    pub(super) root: Host,
}

/// Reads the file's bytes as `version` does.
pub(super) fn read(version: &Version, folder: &str, bytes: &[u8]) -> Result<Hosts, HostsFileError> {
    let parsed = parse(version, bytes)?;
    let file = CaFile {
        version,
        folder,
        text: &parsed.text,
    };
    if version.has(Rule::GoTomlOne) {
        check_host_table(file, &parsed.root)?;
    }
    if version.has(Rule::DottedHostCrashes) {
        check_dotted_hosts(&parsed)?;
    }
    file.check_types(&[&parsed.root], true)?;
    let named = host_tables(file, &parsed.root)?;
    for (_, value) in named.iter().flat_map(|hosts| hosts.iter()) {
        file.check_types(&[value.as_table().ok_or_else(|| not_a_table(file, value))?], false)?;
    }
    let host = |name: String| {
        let tables: Vec<&Table> = named.iter().filter_map(|hosts| hosts.get(&name)?.as_table()).collect();
        file.host(&name, &tables, line_of(&parsed, &name))
    };
    let tables = order(version, &parsed)
        .into_iter()
        .map(host)
        .collect::<Result<_, _>>()?;
    let server = file.all(&[&parsed.root], "server").pop();
    let line = server.map(|value| line_at(&parsed.text, value.span.start));
    let root = file.host(
        server.and_then(Value::as_str).unwrap_or_default(),
        &[&parsed.root],
        line,
    )?;
    Ok(Hosts { tables, root })
}

/// Parses, with what go-toml v1 takes beyond TOML where that is safe to follow.
pub(super) fn parse(version: &Version, bytes: &[u8]) -> Result<Parsed, HostsFileError> {
    let one = version.has(Rule::GoTomlOne);
    // go-toml v1 reads runes, so that bytes which are no UTF-8 become the replacement character.
    let bytes = match String::from_utf8_lossy(bytes) {
        Cow::Owned(mended) if one => Cow::Owned(mended.into_bytes()),
        _ => Cow::Borrowed(bytes),
    };
    let parsed = toml::parse(&bytes, one).map_err(|error| {
        let taken = error.taken_by == AcceptedBy::V1Only && one || error.taken_by == AcceptedBy::SomeReleases;
        let kind = if taken {
            HostsFaultKind::Unsure
        } else {
            HostsFaultKind::Syntax
        };
        let remedy = error
            .remedy
            .clone()
            .unwrap_or_else(|| format!("Mend this line: {}", shown(&error.shown)));
        HostsFileError {
            kind,
            found: error.to_string(),
            line: Some(error.line),
            remedy,
        }
    })?;
    let raw = |header: &&toml::Header| is_host(&header.path) && parsed.text[header.span.clone()].contains('\\');
    let escaped = parsed.layout.headers().find(raw).map(|header| header.span.start);
    match escaped.filter(|_| one) {
        Some(at) => Err(HostsFileError {
            kind: HostsFaultKind::Unsure,
            found: "an escape in a table header, which go-toml v1 does not decode".to_owned(),
            line: Some(line_at(&parsed.text, at)),
            remedy: "Write the host's URL in the header without escapes.".to_owned(),
        }),
        None => Ok(parsed),
    }
}

fn is_host(path: &[String]) -> bool {
    path.len() > 1 && path[0] == "host"
}

/// What `getSortedHosts` of 1.x stumbles over before it looks at any value.
fn check_host_table(file: CaFile<'_>, root: &Table) -> Result<(), HostsFileError> {
    let no_table = |found: String| HostsFileError {
        kind: HostsFaultKind::NoHostTable,
        found,
        line: None,
        remedy: "Add a line `[host]`, even if no host follows it.".to_owned(),
    };
    match root.get("host").map(|value| &value.kind) {
        None if file.version.has(Rule::HostTableNeeded) => Err(no_table("no `host` table".to_owned())),
        None => Ok(()),
        Some(ValueKind::Table(hosts)) => match hosts.values().find(|value| value.as_table().is_none()) {
            // With two keys it compares their lines, and takes each for a table unasked.
            Some(value) if hosts.len() > 1 => Err(HostsFileError {
                kind: HostsFaultKind::Crash,
                ..not_a_table(file, value)
            }),
            _ => Ok(()),
        },
        Some(kind) => Err(no_table(format!("`host` is {}, not a table", kind.name()))),
    }
}

/// go-toml v2 before 2.4 panics when a dotted key goes below a map entry that another dotted key made.
fn check_dotted_hosts(parsed: &Parsed) -> Result<(), HostsFileError> {
    let mut seen = BTreeSet::new();
    let dotted = parsed
        .layout
        .expressions
        .iter()
        .filter_map(|expression| match expression {
            Expression::Assignment(one) => Some((one, parsed.layout.path_of(one))),
            _ => None,
        });
    for (one, path) in dotted.filter(|(one, path)| is_host(path) && path.len() - one.key.len() < 2 && path.len() > 2) {
        if !seen.insert(path[1].clone()) {
            return Err(HostsFileError {
                kind: HostsFaultKind::Crash,
                found: format!("a second dotted key of {}", title(&path[1])),
                line: one.parts.first().map(|part| line_at(&parsed.text, part.start)),
                remedy: format!("Write {} above the settings of this host.", title(&path[1])),
            });
        }
    }
    Ok(())
}

fn not_a_table(file: CaFile<'_>, value: &Value) -> HostsFileError {
    HostsFileError {
        kind: HostsFaultKind::WrongType,
        found: format!(
            "{} directly below `[host]`, where only hosts may stand",
            value.kind.name()
        ),
        line: Some(line_at(file.text, value.span.start)),
        remedy:
            "Write `[host.\"https://host:port\"]` above the settings of a host, and settings of the registry itself \
                 at the top of the file."
                .to_owned(),
    }
}

/// Every table that the release takes for `host`.
fn host_tables<'a>(file: CaFile<'a>, root: &'a Table) -> Result<Vec<&'a Table>, HostsFileError> {
    let values = file.all(&[root], "host").into_iter();
    values
        .map(|value| {
            value.as_table().ok_or_else(|| HostsFileError {
                found: format!("`host` is {}, not a table", value.kind.name()),
                ..not_a_table(file, value)
            })
        })
        .collect()
}

/// The names of the hosts in the order asked.
fn order(version: &Version, parsed: &Parsed) -> Vec<String> {
    if version.has(Rule::HostsAreHeaders) {
        return headers(parsed);
    }
    let Some(hosts) = parsed.root.get("host").and_then(Value::as_table) else {
        return Vec::new();
    };
    let line = |name: &str, value: &Value| {
        let header = || line_of(parsed, name).unwrap_or(0);
        if is_inline(parsed, value) { 0 } else { header() }
    };
    let mut names: Vec<_> = hosts
        .iter()
        .map(|(name, value)| (line(name, value), name.clone()))
        .collect();
    // Inline tables have no line and come first, in no certain order among themselves: here, that of the file.
    names.sort_by_key(|(line, _)| *line);
    names.into_iter().map(|(_, name)| name).collect()
}

/// `getSortedHosts` of 2.x: a header names a host unless the header before did.
pub(super) fn headers(parsed: &Parsed) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut last = "";
    for header in parsed
        .layout
        .headers()
        .filter(|header| !header.array && is_host(&header.path))
    {
        if header.path[1] != last {
            last = &header.path[1];
            names.push(last.to_owned());
        }
    }
    names
}

pub(super) fn is_inline(parsed: &Parsed, table: &Value) -> bool {
    parsed.text[table.span.start..].starts_with('{')
}

/// The line on which the host of this name is first mentioned.
pub(super) fn line_of(parsed: &Parsed, name: &str) -> Option<usize> {
    let names = |path: &[String]| is_host(path) && path[1] == name;
    let first = parsed
        .layout
        .expressions
        .iter()
        .find_map(|expression| match expression {
            Expression::Header(header) if names(&header.path) => Some(header.span.start),
            Expression::Assignment(one) if names(&parsed.layout.path_of(one)) => {
                one.parts.first().map(|part| part.start)
            }
            _ => None,
        });
    let inner = || Some(parsed.root.get("host")?.as_table()?.get(name)?.span.start);
    first.or_else(inner).map(|at| line_at(&parsed.text, at))
}

/// The name of a host for people.
pub(super) fn title(host: &str) -> String {
    format!("`[host.\"{}\"]`", shown(host))
}
