//! The settings of one host in a hosts.toml: names, types and values.
//!
//! Fields are found as in Go's TOML libraries. go-toml v1 accepts the name as declared or in capitals; v2 accepts any case,
//! and the last spelling takes effect. Both check the types of every field in the file, but the values only of hosts that
//! are used.

use crate::hosts::error::{HostsFaultKind, HostsFileError};
use crate::hosts::url::{clean, join};
use crate::hosts::{duration, url};
use crate::redact::written_url;
use crate::route::Headers;
use crate::rules::Rule;
use crate::toml::line_at;
use crate::toml::value::{Table, Value, ValueKind};
use crate::version::Version;
use std::collections::BTreeMap;
use std::time::Duration;

/// The client certificates of a host: the certificate file, and the key file if it is a separate file.
type Pairs = Vec<(String, Option<String>)>;

/// A host as containerd reads it, before defaults are set. It has no `Debug`, because a URL may contain a password.
#[derive(Clone, Default)]
pub(super) struct Host {
    /// The URL as written; empty for a root without `server`, and for certificate files.
    pub(super) written: String,
    pub(super) scheme: String,
    /// Empty if the URL has none, or if there is no `server`.
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) pulls: bool,
    pub(super) resolves: bool,
    /// `Some` with an empty list is a TLS setting too.
    pub(super) ca: Option<Vec<String>>,
    pub(super) client: Pairs,
    pub(super) skip_verify: Option<bool>,
    pub(super) headers: Headers,
    pub(super) dial_timeout: Option<Duration>,
    pub(super) line: Option<usize>,
}

/// A hosts.toml whose fields are read.
#[derive(Clone, Copy)]
pub(super) struct HostsFile<'a> {
    pub(super) version: &'a Version,
    /// The folder in which relative names are resolved.
    pub(super) folder: &'a str,
    pub(super) text: &'a str,
}

const KNOWN: [&str; 7] = [
    "capabilities",
    "ca",
    "client",
    "skip_verify",
    "header",
    "override_path",
    "dial_timeout",
];

impl<'a> HostsFile<'a> {
    fn fault(&self, kind: HostsFaultKind, value: &Value, found: String, remedy: &str) -> HostsFileError {
        let line = Some(line_at(self.text, value.span.start));
        HostsFileError {
            kind,
            found,
            line,
            remedy: remedy.to_owned(),
        }
    }

    fn wrong_type(&self, key: &str, value: &Value, expected: &str) -> HostsFileError {
        let found = format!("`{key}` is {}, not {expected}", value.kind.name());
        self.fault(
            HostsFaultKind::WrongType,
            value,
            found,
            &format!("Write `{key}` as {expected}."),
        )
    }

    /// Returns the values of every spelling of `key` that this release accepts, in the order of the file.
    pub(super) fn all(&self, tables: &[&'a Table], key: &str) -> Vec<&'a Value> {
        if self.version.has(Rule::KeysFoldCase) {
            let fields = tables.iter().flat_map(|table| table.iter());
            return fields
                .filter(|(name, _)| name.to_lowercase() == key)
                .map(|(_, value)| value)
                .collect();
        }
        let field = |table: &&'a Table| table.get(key).or_else(|| table.get(&key.to_uppercase()));
        tables.iter().filter_map(field).collect()
    }

    fn knows(&self, key: &str) -> bool {
        key != "dial_timeout" || self.version.has(Rule::DialTimeout)
    }

    /// Returns the entries of `table` that this release ignores.
    pub(super) fn unknown(&self, table: &'a Table, root: bool) -> Vec<(&'a str, &'a Value)> {
        let fold = self.version.has(Rule::KeysFoldCase);
        let same = |name: &str, key: &str| {
            name == key
                || if fold {
                    name.to_lowercase() == key
                } else {
                    name == key.to_uppercase()
                }
        };
        let at_root = ["server", "host"].into_iter().filter(|_| root);
        let keys: Vec<_> = KNOWN.into_iter().filter(|key| self.knows(key)).chain(at_root).collect();
        let known = |name: &str| keys.iter().any(|key| same(name, key));
        let entries = table.iter().filter(|(name, _)| !known(name));
        entries.map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// Checks the types, as both libraries do before any value is used.
    pub(super) fn check_types(&self, tables: &[&'a Table], root: bool) -> Result<(), HostsFileError> {
        for key in KNOWN
            .into_iter()
            .filter(|key| self.knows(key))
            .chain(root.then_some("server"))
        {
            for value in self.all(tables, key) {
                let expected = match (key, &value.kind) {
                    ("capabilities", ValueKind::Array(items)) => {
                        match items.iter().find(|item| item.as_str().is_none()) {
                            Some(item) => return Err(self.wrong_type(key, item, "a list of strings")),
                            None => continue,
                        }
                    }
                    ("capabilities", _) => "a list of strings",
                    ("skip_verify" | "override_path", kind) if !matches!(kind, ValueKind::Boolean(_)) => {
                        "`true` or `false`"
                    }
                    ("header", kind) if !matches!(kind, ValueKind::Table(_)) => "a table",
                    ("dial_timeout" | "server", kind) if !matches!(kind, ValueKind::String(_)) => "a string",
                    _ => continue,
                };
                return Err(self.wrong_type(key, value, expected));
            }
        }
        Ok(())
    }

    fn last(&self, tables: &[&'a Table], key: &str) -> Option<&'a Value> {
        self.all(tables, key).pop()
    }

    /// Reads one host from the tables of its URL, or from the root table.
    pub(super) fn host(&self, url: &str, tables: &[&'a Table], line: Option<usize>) -> Result<Host, HostsFileError> {
        let flag = |key| match self.last(tables, key).map(|value| &value.kind) {
            Some(ValueKind::Boolean(flag)) => Some(*flag),
            _ => None,
        };
        let mut host = Host {
            written: url.to_owned(),
            line,
            skip_verify: flag("skip_verify"),
            ..Host::default()
        };
        if !url.is_empty() {
            (host.scheme, host.authority, host.path) = url_of(url, flag("override_path") == Some(true), line)?;
        }
        (host.pulls, host.resolves) = self.capabilities(tables)?;
        host.ca = self.last(tables, "ca").map(|value| self.ca(value)).transpose()?;
        if let Some(value) = self.last(tables, "client") {
            host.client = self.client(value)?;
        }
        host.headers = self.headers(tables)?;
        let timeout = self.last(tables, "dial_timeout").filter(|_| self.knows("dial_timeout"));
        if let Some((value, text)) = timeout
            .and_then(|value| Some((value, value.as_str()?)))
            .filter(|(_, text)| !text.is_empty())
        {
            host.dial_timeout = Some(duration::parse(text).ok_or_else(|| {
                let found = format!("`dial_timeout` is `{text}`, which is not a duration");
                self.fault(
                    HostsFaultKind::BadDuration,
                    value,
                    found,
                    "Write a number and a unit, such as `\"5s\"`.",
                )
            })?);
        }
        Ok(host)
    }

    /// Returns whether the host pulls, and whether it also resolves.
    fn capabilities(&self, tables: &[&'a Table]) -> Result<(bool, bool), HostsFileError> {
        let Some(ValueKind::Array(items)) = self.last(tables, "capabilities").map(|value| &value.kind) else {
            return Ok((true, true));
        };
        let (mut pull, mut resolve) = (items.is_empty(), items.is_empty());
        for item in items {
            let name = item.as_str().unwrap_or_default();
            match name.to_lowercase().as_str() {
                "pull" => pull = true,
                "resolve" => resolve = true,
                "push" => {}
                "referrers" if self.version.has(Rule::ReferrersCapability) => {}
                _ => {
                    let found = format!(
                        "the capability `{name}`, which containerd {} does not know",
                        self.version
                    );
                    let remedy = "Write only `pull` and `resolve`; pulls need no other capability.";
                    return Err(self.fault(HostsFaultKind::UnknownCapability, item, found, remedy));
                }
            }
        }
        Ok((pull, pull && resolve))
    }

    fn path(&self, name: &str) -> String {
        if name.starts_with('/') {
            clean(name)
        } else {
            join(self.folder, name)
        }
    }

    fn paths(&self, key: &str, items: &[Value]) -> Result<Vec<String>, HostsFileError> {
        let path = |item: &Value| match item.as_str() {
            Some(name) => Ok(self.path(name)),
            None => Err(self.wrong_type(key, item, "a file name")),
        };
        items.iter().map(path).collect()
    }

    fn ca(&self, value: &Value) -> Result<Vec<String>, HostsFileError> {
        match &value.kind {
            ValueKind::String(name) => Ok(vec![self.path(name)]),
            ValueKind::Array(items) => self.paths("ca", items),
            _ => Err(self.wrong_type("ca", value, "a file name or a list of them")),
        }
    }

    fn client(&self, value: &Value) -> Result<Pairs, HostsFileError> {
        let expected = "a file name, or a list of names or of pairs `[\"certificate\", \"key\"]`";
        let items = match &value.kind {
            ValueKind::String(name) => return Ok(vec![(self.path(name), None)]),
            ValueKind::Array(items) => items,
            _ => return Err(self.wrong_type("client", value, expected)),
        };
        let pair = |item: &Value| match &item.kind {
            ValueKind::String(name) => Ok((self.path(name), None)),
            ValueKind::Array(pair) => match self.paths("client", pair)?.as_slice() {
                [certificate, key] => Ok((certificate.clone(), Some(key.clone()))),
                names => {
                    let found = format!("a list of {} names in `client`, not of two", names.len());
                    Err(self.fault(
                        HostsFaultKind::WrongType,
                        item,
                        found,
                        "Write pairs as `[\"certificate\", \"key\"]`.",
                    ))
                }
            },
            _ => Err(self.wrong_type("client", item, expected)),
        };
        items.iter().map(pair).collect()
    }

    fn headers(&self, tables: &[&'a Table]) -> Result<Headers, HostsFileError> {
        let mut headers = BTreeMap::new();
        for (name, value) in self
            .all(tables, "header")
            .into_iter()
            .filter_map(Value::as_table)
            .flatten()
        {
            let wrong = |value: &Value| {
                let found = format!(
                    "the header `{name}` is {}, not a string or a list of strings",
                    value.kind.name()
                );
                self.fault(
                    HostsFaultKind::WrongType,
                    value,
                    found,
                    "Write header values as strings.",
                )
            };
            let values = match &value.kind {
                ValueKind::String(text) => vec![text.clone()],
                ValueKind::Array(items) => {
                    let text = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| wrong(item));
                    items.iter().map(text).collect::<Result<_, _>>()?
                }
                _ => return Err(wrong(value)),
            };
            headers.insert(name.clone(), values);
        }
        // containerd does not send a header without values.
        headers.retain(|_, values: &mut Vec<String>| !values.is_empty());
        Ok(Headers::new(headers))
    }
}

/// Splits a URL into scheme, host and API root.
fn url_of(url: &str, overrides: bool, line: Option<usize>) -> Result<(String, String, String), HostsFileError> {
    let full = if url.starts_with("http") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let url = url::parse(&full).map_err(|reason| HostsFileError {
        kind: HostsFaultKind::BadUrl,
        found: format!("`{}` is not a URL: {reason}", written_url(url)),
        line,
        remedy: "Write `https://host:port` or `http://host:port`, with a path if the registry has one.".to_owned(),
    })?;
    let mut path = url.path;
    if !path.is_empty() {
        path = clean(&path);
    }
    if !overrides && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    // A request joins the root with the repository, which cleans the path again.
    let path = clean(&format!("/{path}"));
    Ok((url.scheme, url.host, if path == "/" { String::new() } else { path }))
}
