//! Writes the `hosts.toml` with which containerd tries given hosts in a given order.
//!
//! Every file is read back by the model of the containerd that it is for, and compared, before it is returned. It uses only
//! what every release since 1.6.0 accepts, so that an upgrade does not change its meaning: hosts are table headers, the line
//! `[host]` is written even when no host follows, and only the capabilities `pull` and `resolve` are named.

use mirrorshift_containerd::{Headers, RegistryHost, Rule, Scheme, Tls, Version, hosts_in_file, is_localhost};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// The hosts directory that the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder<'a> {
    /// The directory of one registry, as image references name it: `ghcr.io`, `port.test:5000`.
    Of(&'a str),
    /// `_default`. The hosts are those of an image of `seen_from`, a registry that no setting names and that is not local.
    /// When its own host is tried last, the file leaves that host to each image.
    Default { seen_from: &'a str },
}

impl<'a> Folder<'a> {
    fn registry(self) -> &'a str {
        match self {
            Self::Of(registry) => registry,
            Self::Default { seen_from } => seen_from,
        }
    }
}

/// The reason why no `hosts.toml` of this containerd can express the hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Inexpressible {
    /// The list is empty.
    #[error(
        "the list of hosts is empty, and containerd always tries the last host of a hosts.toml or the registry itself"
    )]
    NoHost,
    /// A URL cannot contain the host.
    #[error("the host `{0}` cannot be written into a URL")]
    Host(String),
    /// go-toml v1 does not accept `]` in a table header.
    #[error("containerd {release} cannot read the IPv6 host `{host}` in a hosts.toml, except as the last one")]
    Ipv6 { host: String, release: String },
    /// HTTP does not allow the header name.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// The release ignores the setting.
    #[error("containerd {0} does not know `dial_timeout`")]
    DialTimeout(String),
    /// The release would not use the file.
    #[error("containerd {release} would not use the file: {found}")]
    Refused { release: String, found: String },
    /// The release would try another host, or the host in another way.
    #[error("containerd {release} would try {actual} instead of {expected}")]
    Different {
        release: String,
        actual: String,
        expected: String,
    },
}

/// Returns the `hosts.toml` that `version` reads as exactly `hosts` for images of the directory's registry.
///
/// A host that occurs twice in a row is written once, because no registry can see the difference. The credentials and the
/// `ns` of a request follow from the hosts and are not written. TLS settings of plain HTTP hosts are left out, because with
/// them containerd would try HTTPS first.
pub(crate) fn write(
    folder: Folder<'_>,
    hosts: &[RegistryHost],
    version: &Version,
    comments: &[String],
) -> Result<String, Inexpressible> {
    let mut expected: Vec<RegistryHost> = hosts.iter().map(written_part).collect();
    expected.dedup();
    let (last, hosts) = expected.split_last().ok_or(Inexpressible::NoHost)?;
    let mut file = HostsFileText {
        version,
        text: opening(comments),
    };
    file.root(last, !is_left_out(folder, last, version)?)?;
    let mut urls = BTreeSet::new();
    for host in hosts {
        file.host(host, &mut urls)?;
    }
    if hosts.is_empty() {
        file.text.push_str("\n[host]\n");
    }
    let actual = read(version, &file.text, folder.registry())?;
    let pairs = actual
        .iter()
        .map(Some)
        .chain([None])
        .zip(expected.iter().map(Some).chain([None]));
    match pairs.into_iter().find(|(actual, expected)| actual != expected) {
        None if actual.len() == expected.len() => Ok(file.text),
        difference => {
            let (actual, expected) = difference.unwrap_or_default();
            Err(Inexpressible::Different {
                release: version.release(),
                actual: describe(actual),
                expected: describe(expected),
            })
        }
    }
}

/// Returns the part of a host that a `hosts.toml` can express.
fn written_part(host: &RegistryHost) -> RegistryHost {
    let mut part = RegistryHost {
        credentials: None,
        ..host.clone()
    };
    if part.scheme == Scheme::Http {
        part.tls = Tls::default();
    }
    part
}

/// Returns the host with only its address and capabilities.
fn bare(host: &RegistryHost) -> RegistryHost {
    RegistryHost {
        tls: Tls::default(),
        headers: Headers::default(),
        dial_timeout: None,
        ..host.clone()
    }
}

/// Returns true when containerd appends this host by itself. For local registries releases differ in the way that they do,
/// so the host is written.
fn is_left_out(folder: Folder<'_>, last: &RegistryHost, version: &Version) -> Result<bool, Inexpressible> {
    let own = read(version, "[host]\n", folder.registry())?;
    Ok(!is_localhost(folder.registry()) && own.last().is_some_and(|own| bare(own) == bare(last)))
}

fn read(version: &Version, text: &str, registry: &str) -> Result<Vec<RegistryHost>, Inexpressible> {
    hosts_in_file(version, "/", text.as_bytes(), registry).map_err(|fault| Inexpressible::Refused {
        release: version.release(),
        found: fault.found,
    })
}

fn describe(host: Option<&RegistryHost>) -> String {
    let Some(host) = host else {
        return "no further host".to_owned();
    };
    let first = if host.scheme == Scheme::HttpsThenHttp {
        " (HTTPS first)"
    } else {
        ""
    };
    let purpose = match (host.pulls, host.resolves) {
        (true, true) => "",
        (true, false) => " for digests only",
        (false, _) => " for layers only",
    };
    let tls = if host.tls == Tls::default() {
        ""
    } else {
        " with TLS settings"
    };
    format!("`{}`{first}{purpose}{tls}", host.url())
}

fn opening(comments: &[String]) -> String {
    let mut text =
        "# Written by mirrorshift. containerd reads this file at every pull; no restart is needed.\n".to_owned();
    for line in comments.iter().flat_map(|comment| comment.lines()) {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    text
}

struct HostsFileText<'a> {
    version: &'a Version,
    text: String,
}

impl HostsFileText<'_> {
    fn line(&mut self, indent: &str, key: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{indent}{key} = {value}");
    }

    fn root(&mut self, host: &RegistryHost, server: bool) -> Result<(), Inexpressible> {
        self.text.push('\n');
        let start = self.text.len();
        if server {
            self.line("", "server", &quoted(&url(host, 0)?));
        }
        self.settings("", host, server)?;
        if !host.headers.is_empty() {
            self.text.push_str("\n[header]\n");
            self.headers("  ", &host.headers)?;
        }
        if self.text.len() == start {
            self.text.pop();
        }
        Ok(())
    }

    fn host(&mut self, host: &RegistryHost, urls: &mut BTreeSet<String>) -> Result<(), Inexpressible> {
        if host.host.contains(']') && self.version.has(Rule::GoTomlOne) {
            return Err(Inexpressible::Ipv6 {
                host: host.host.clone(),
                release: self.version.release(),
            });
        }
        // A host that occurs again is spelled in another way, because the same header twice is an error.
        let mut again = 0;
        let name = loop {
            let url = url(host, again)?;
            if urls.insert(url.clone()) {
                break quoted(&url);
            }
            again += 1;
        };
        let _ = writeln!(self.text, "\n[host.{name}]");
        self.settings("  ", host, true)?;
        if !host.headers.is_empty() {
            let _ = writeln!(self.text, "\n  [host.{name}.header]");
            self.headers("    ", &host.headers)?;
        }
        Ok(())
    }

    fn settings(&mut self, indent: &str, host: &RegistryHost, own_url: bool) -> Result<(), Inexpressible> {
        if own_url {
            let capabilities = match (host.pulls, host.resolves) {
                (true, true) => r#"["pull", "resolve"]"#,
                (true, false) => r#"["pull"]"#,
                (false, _) => r#"["resolve"]"#,
            };
            self.line(indent, "capabilities", capabilities);
            if !host.path.ends_with("/v2") {
                self.line(indent, "override_path", "true");
            }
        }
        let Tls {
            skip_verify,
            ca,
            client,
        } = &host.tls;
        match ca.as_slice() {
            [] => {}
            [path] => self.line(indent, "ca", &quoted(path)),
            many => self.line(indent, "ca", &list(many.iter().map(|path| quoted(path)))),
        }
        let pair = |(certificate, key): &(String, Option<String>)| match key {
            Some(key) => list([quoted(certificate), quoted(key)]),
            None => quoted(certificate),
        };
        if !client.is_empty() {
            self.line(indent, "client", &list(client.iter().map(pair)));
        }
        // With any TLS setting, also one without effect, containerd tries HTTPS first on an http host.
        let only_for_https_first = host.scheme == Scheme::HttpsThenHttp && ca.is_empty() && client.is_empty();
        if *skip_verify || only_for_https_first {
            self.line(indent, "skip_verify", &skip_verify.to_string());
        }
        if let Some(timeout) = host.dial_timeout {
            if !self.version.has(Rule::DialTimeout) {
                return Err(Inexpressible::DialTimeout(self.version.release()));
            }
            self.line(indent, "dial_timeout", &quoted(&duration(timeout)));
        }
        Ok(())
    }

    fn headers(&mut self, indent: &str, headers: &Headers) -> Result<(), Inexpressible> {
        for (name, values) in headers.reveal() {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(Inexpressible::HeaderName(name.clone()));
            }
            match values.as_slice() {
                [] => {}
                [value] => self.line(indent, &key(name), &quoted(value)),
                many => self.line(indent, &key(name), &list(many.iter().map(|value| quoted(value)))),
            }
        }
        Ok(())
    }
}

/// Returns the URL of a host, in its plainest spelling or, when that is taken, with slashes that containerd removes.
fn url(host: &RegistryHost, again: usize) -> Result<String, Inexpressible> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if host.host.is_empty() || !host.host.bytes().all(plain) {
        return Err(Inexpressible::Host(host.host.clone()));
    }
    let path = match host.path.as_str() {
        "/v2" if again == 0 => "",
        path => path,
    };
    let slashes = if host.path == "/v2" {
        again.saturating_sub(1)
    } else {
        again
    };
    Ok(format!(
        "{}://{}{}{}",
        host.scheme.as_str(),
        host.host,
        encoded(path),
        "/".repeat(slashes)
    ))
}

/// Returns a path in which every character is escaped that has another meaning in a URL, or could have one for a reader.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&()*+,;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    match (nanos % 1_000_000_000, nanos % 1_000_000) {
        (0, _) => format!("{}s", time.as_secs()),
        (_, 0) => format!("{}ms", time.as_millis()),
        _ => format!("{nanos}ns"),
    }
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn key(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.bytes().all(plain) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Returns a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
