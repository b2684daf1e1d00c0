//! A hosts.toml: its hosts, in the order in which a release tries them.

use crate::hosts::error::{HostsFaultKind, HostsFileError};
use crate::hosts::fields::{Host, HostsFile};
use crate::redact::written_url;
use crate::rules::Rule;
use crate::toml::dialect::AcceptedBy;
use crate::toml::layout::Expression;
use crate::toml::value::{Table, Value, ValueKind};
use crate::toml::{self, Parsed, line_at};
use crate::version::Version;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The hosts of one file.
#[derive(Default)]
pub(super) struct Hosts {
    /// The host tables, in the order in which containerd tries them.
    pub(super) tables: Vec<Host>,
    /// The last host: the settings at the top of the file, with or without a `server`.
    pub(super) root: Host,
}

/// Reads the contents as `version` does.
pub(super) fn read(version: &Version, folder: &str, bytes: &[u8]) -> Result<Hosts, HostsFileError> {
    let parsed = parse(version, bytes)?;
    let file = HostsFile {
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

/// Parses the contents, including extensions of go-toml v1 that are safe to support.
pub(super) fn parse(version: &Version, bytes: &[u8]) -> Result<Parsed, HostsFileError> {
    let is_v1 = version.has(Rule::GoTomlOne);
    // go-toml v1 reads runes, so it replaces bytes that are not UTF-8 with the replacement character.
    let bytes = match String::from_utf8_lossy(bytes) {
        Cow::Owned(replaced) if is_v1 => Cow::Owned(replaced.into_bytes()),
        _ => Cow::Borrowed(bytes),
    };
    let parsed = toml::parse(&bytes, is_v1).map_err(|error| {
        let is_accepted =
            error.accepted_by == AcceptedBy::V1Only && is_v1 || error.accepted_by == AcceptedBy::SomeReleases;
        let kind = if is_accepted {
            HostsFaultKind::EffectUnknown
        } else {
            HostsFaultKind::Syntax
        };
        let remedy = error.remedy.clone().unwrap_or_else(|| {
            format!(
                "Edit the line `{}` so that the file is valid TOML 1.0.",
                written_url(error.shown.trim())
            )
        });
        HostsFileError {
            kind,
            found: error.to_string(),
            line: Some(error.line),
            remedy,
        }
    })?;
    let raw = |header: &&toml::Header| is_host(&header.path) && parsed.text[header.span.clone()].contains('\\');
    let escaped = parsed.layout.headers().find(raw).map(|header| header.span.start);
    match escaped.filter(|_| is_v1) {
        Some(at) => Err(HostsFileError {
            kind: HostsFaultKind::EffectUnknown,
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

/// Checks for the errors that `getSortedHosts` of 1.x reports before it reads a value.
fn check_host_table(file: HostsFile<'_>, root: &Table) -> Result<(), HostsFileError> {
    let host_table_fault = |found: String| HostsFileError {
        kind: HostsFaultKind::NoHostTable,
        found,
        line: None,
        remedy: "Add a line `[host]`, even if no host follows it.".to_owned(),
    };
    match root.get("host").map(|value| &value.kind) {
        None if file.version.has(Rule::HostTableNeeded) => Err(host_table_fault("no `host` table".to_owned())),
        None => Ok(()),
        Some(ValueKind::Table(hosts)) => match hosts.values().find(|value| value.as_table().is_none()) {
            // With two keys it compares their lines, and assumes without a check that each is a table.
            Some(value) if hosts.len() > 1 => Err(HostsFileError {
                kind: HostsFaultKind::Crash,
                ..not_a_table(file, value)
            }),
            _ => Ok(()),
        },
        Some(kind) => Err(host_table_fault(format!("`host` is {}, not a table", kind.name()))),
    }
}

/// Reports dotted keys that crash containerd: go-toml v2 before 2.4 panics if a dotted key extends a map entry that another
/// dotted key created.
fn check_dotted_hosts(parsed: &Parsed) -> Result<(), HostsFileError> {
    let mut seen = BTreeSet::new();
    let dotted = parsed
        .layout
        .expressions
        .iter()
        .filter_map(|expression| match expression {
            Expression::Assignment(assignment) => Some((assignment, parsed.layout.path_of(assignment))),
            _ => None,
        });
    for (assignment, path) in
        dotted.filter(|(assignment, path)| is_host(path) && path.len() - assignment.key.len() < 2 && path.len() > 2)
    {
        if !seen.insert(path[1].clone()) {
            return Err(HostsFileError {
                kind: HostsFaultKind::Crash,
                found: format!("a second dotted key of {}", title(&path[1])),
                line: assignment.parts.first().map(|part| line_at(&parsed.text, part.start)),
                remedy: format!("Write {} above the settings of this host.", title(&path[1])),
            });
        }
    }
    Ok(())
}

fn not_a_table(file: HostsFile<'_>, value: &Value) -> HostsFileError {
    HostsFileError {
        kind: HostsFaultKind::WrongType,
        found: format!(
            "{} directly in `[host]`, which may contain only hosts",
            value.kind.name()
        ),
        line: Some(line_at(file.text, value.span.start)),
        remedy:
            "Write `[host.\"https://host:port\"]` above the settings of a host, and settings of the registry itself \
                 at the top of the file."
                .to_owned(),
    }
}

/// Returns every table that the release reads as `host`.
fn host_tables<'a>(file: HostsFile<'a>, root: &'a Table) -> Result<Vec<&'a Table>, HostsFileError> {
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

/// Returns the names of the hosts in the order in which containerd tries them.
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
    // Inline tables have no line, so they are first and have no fixed order. Here it is the order of the file.
    names.sort_by_key(|(line, _)| *line);
    names.into_iter().map(|(_, name)| name).collect()
}

/// Returns the hosts as `getSortedHosts` of 2.x does: a header adds a host unless the previous header named the same one.
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

/// Returns the first line that names this host.
pub(super) fn line_of(parsed: &Parsed, name: &str) -> Option<usize> {
    let names = |path: &[String]| is_host(path) && path[1] == name;
    let first = parsed
        .layout
        .expressions
        .iter()
        .find_map(|expression| match expression {
            Expression::Header(header) if names(&header.path) => Some(header.span.start),
            Expression::Assignment(assignment) if names(&parsed.layout.path_of(assignment)) => {
                assignment.parts.first().map(|part| part.start)
            }
            _ => None,
        });
    let inner = || Some(parsed.root.get("host")?.as_table()?.get(name)?.span.start);
    first.or_else(inner).map(|at| line_at(&parsed.text, at))
}

/// Returns the header of a host for messages.
pub(super) fn title(host: &str) -> String {
    format!("`[host.\"{}\"]`", written_url(host))
}
