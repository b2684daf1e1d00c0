//! Writes the hosts.toml that makes containerd ask given hosts in a given order.
//!
//! Every file is read back by the model of the containerd that it is for, and compared, before it is handed out. It also
//! keeps to what every release since 1.6.0 takes, so that an upgrade does not change its meaning: hosts are table headers,
//! a `[host]` line stands even where no host follows, and only the capabilities `pull` and `resolve` are named.

use mirrorshift_containerd::{Headers, RegistryHost, Rule, Scheme, Tls, Version, hosts_asks, is_localhost};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// The folder that the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folder<'a> {
    /// That of one registry, as image references name it: `ghcr.io`, `port.test:5000`.
    Of(&'a str),
    /// `_default`. The asks are those of an image of `seen_from`, a registry that nothing else names and that is not
    /// local: where its own host is asked last, the file leaves that to each image.
    Default {
        /// Such a registry.
        seen_from: &'a str,
    },
}

impl<'a> Folder<'a> {
    fn registry(self) -> &'a str {
        match self {
            Self::Of(registry) => registry,
            Self::Default { seen_from } => seen_from,
        }
    }
}

/// Why no hosts.toml makes this containerd ask these hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Inexpressible {
    /// There is always a last host.
    #[error("nobody is to be asked, and containerd always asks the last host of a hosts.toml or the registry itself")]
    Nobody,
    /// A host that would not survive in a URL.
    #[error("the host `{0}` cannot be written into a URL")]
    Host(String),
    /// go-toml v1 takes no `]` in a table header.
    #[error("containerd {release} cannot read the IPv6 host `{host}` in a hosts.toml, except as the last one")]
    Ipv6 {
        /// The host.
        host: String,
        /// The release.
        release: String,
    },
    /// A name that HTTP does not allow.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// A release that ignores the setting.
    #[error("containerd {0} knows no `dial_timeout`")]
    DialTimeout(String),
    /// The release would not use the file.
    #[error("containerd {release} would not use the file: {found}")]
    Refused {
        /// The release.
        release: String,
        /// What it stumbles over.
        found: String,
    },
    /// The release would ask somebody else, or in another way.
    #[error("containerd {release} would ask {reads} where {wanted} is wanted")]
    Different {
        /// The release.
        release: String,
        /// What it makes of the file.
        reads: String,
        /// What was wanted there.
        wanted: String,
    },
}

/// The hosts.toml that `version` reads as exactly `asks` for images of the folder's registry.
///
/// A host that is asked twice in a row is written once, which no registry can tell apart. Whose credentials are used and
/// which `ns` is sent follow from the hosts and are not written; TLS settings of plain HTTP hosts are left out, as they
/// would make containerd try HTTPS first.
pub(crate) fn write(
    folder: Folder<'_>,
    asks: &[RegistryHost],
    version: &Version,
    comments: &[String],
) -> Result<String, Inexpressible> {
    let mut wanted: Vec<RegistryHost> = asks.iter().map(written_part).collect();
    wanted.dedup();
    let (last, hosts) = wanted.split_last().ok_or(Inexpressible::Nobody)?;
    let mut file = HostsFileText {
        version,
        text: opening(comments),
    };
    file.root(last, !is_left_out(folder, last, version)?)?;
    let mut urls = BTreeSet::new();
    for ask in hosts {
        file.host(ask, &mut urls)?;
    }
    if hosts.is_empty() {
        file.text.push_str("\n[host]\n");
    }
    let reads = read(version, &file.text, folder.registry())?;
    let pairs = reads
        .iter()
        .map(Some)
        .chain([None])
        .zip(wanted.iter().map(Some).chain([None]));
    match pairs.into_iter().find(|(reads, wanted)| reads != wanted) {
        None if reads.len() == wanted.len() => Ok(file.text),
        difference => {
            let (reads, wanted) = difference.unwrap_or_default();
            Err(Inexpressible::Different {
                release: version.release(),
                reads: shown(reads),
                wanted: shown(wanted),
            })
        }
    }
}

/// What of an ask a hosts.toml can say.
fn written_part(ask: &RegistryHost) -> RegistryHost {
    let mut part = RegistryHost {
        credentials: None,
        ..ask.clone()
    };
    if part.scheme == Scheme::Http {
        part.tls = Tls::default();
    }
    part
}

/// The host with nothing but its address and capabilities.
fn bare(ask: &RegistryHost) -> RegistryHost {
    RegistryHost {
        tls: Tls::default(),
        headers: Headers::default(),
        dial_timeout: None,
        ..ask.clone()
    }
}

/// Whether containerd appends this host by itself. For local registries releases differ in how they do, so it is written.
fn is_left_out(folder: Folder<'_>, last: &RegistryHost, version: &Version) -> Result<bool, Inexpressible> {
    let own = read(version, "[host]\n", folder.registry())?;
    Ok(!is_localhost(folder.registry()) && own.last().is_some_and(|own| bare(own) == bare(last)))
}

fn read(version: &Version, text: &str, registry: &str) -> Result<Vec<RegistryHost>, Inexpressible> {
    hosts_asks(version, "/", text.as_bytes(), registry).map_err(|fault| Inexpressible::Refused {
        release: version.release(),
        found: fault.found,
    })
}

fn shown(ask: Option<&RegistryHost>) -> String {
    let Some(ask) = ask else {
        return "nobody else".to_owned();
    };
    let first = if ask.scheme == Scheme::HttpsThenHttp {
        " by HTTPS first"
    } else {
        ""
    };
    let may = match (ask.pulls, ask.resolves) {
        (true, true) => "",
        (true, false) => " for digests only",
        (false, _) => " for layers only",
    };
    let tls = if ask.tls == Tls::default() {
        ""
    } else {
        " with TLS settings"
    };
    format!("`{}`{first}{may}{tls}", ask.url())
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

    fn root(&mut self, ask: &RegistryHost, server: bool) -> Result<(), Inexpressible> {
        self.text.push('\n');
        let start = self.text.len();
        if server {
            self.line("", "server", &quoted(&url(ask, 0)?));
        }
        self.settings("", ask, server)?;
        if !ask.headers.is_empty() {
            self.text.push_str("\n[header]\n");
            self.headers("  ", &ask.headers)?;
        }
        if self.text.len() == start {
            self.text.pop();
        }
        Ok(())
    }

    fn host(&mut self, ask: &RegistryHost, urls: &mut BTreeSet<String>) -> Result<(), Inexpressible> {
        if ask.host.contains(']') && self.version.has(Rule::GoTomlOne) {
            return Err(Inexpressible::Ipv6 {
                host: ask.host.clone(),
                release: self.version.release(),
            });
        }
        // A host that comes again is spelled in another way: the same header twice is an error, and sorted as one.
        let mut again = 0;
        let name = loop {
            let url = url(ask, again)?;
            if urls.insert(url.clone()) {
                break quoted(&url);
            }
            again += 1;
        };
        let _ = writeln!(self.text, "\n[host.{name}]");
        self.settings("  ", ask, true)?;
        if !ask.headers.is_empty() {
            let _ = writeln!(self.text, "\n  [host.{name}.header]");
            self.headers("    ", &ask.headers)?;
        }
        Ok(())
    }

    fn settings(&mut self, indent: &str, ask: &RegistryHost, own_url: bool) -> Result<(), Inexpressible> {
        if own_url {
            let capabilities = match (ask.pulls, ask.resolves) {
                (true, true) => r#"["pull", "resolve"]"#,
                (true, false) => r#"["pull"]"#,
                (false, _) => r#"["resolve"]"#,
            };
            self.line(indent, "capabilities", capabilities);
            if !ask.path.ends_with("/v2") {
                self.line(indent, "override_path", "true");
            }
        }
        let Tls {
            skip_verify,
            ca,
            client,
        } = &ask.tls;
        match ca.as_slice() {
            [] => {}
            [one] => self.line(indent, "ca", &quoted(one)),
            many => self.line(indent, "ca", &list(many.iter().map(|path| quoted(path)))),
        }
        let pair = |(certificate, key): &(String, Option<String>)| match key {
            Some(key) => list([quoted(certificate), quoted(key)]),
            None => quoted(certificate),
        };
        if !client.is_empty() {
            self.line(indent, "client", &list(client.iter().map(pair)));
        }
        // Any TLS setting makes an http host be tried by HTTPS first, one that says nothing new too.
        let only_for_https_first = ask.scheme == Scheme::HttpsThenHttp && ca.is_empty() && client.is_empty();
        if *skip_verify || only_for_https_first {
            self.line(indent, "skip_verify", &skip_verify.to_string());
        }
        if let Some(timeout) = ask.dial_timeout {
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
                [one] => self.line(indent, &key(name), &quoted(one)),
                many => self.line(indent, &key(name), &list(many.iter().map(|value| quoted(value)))),
            }
        }
        Ok(())
    }
}

/// The URL of a host, spelled in its plainest way or, where that is taken, with slashes that containerd cuts off.
fn url(ask: &RegistryHost, again: usize) -> Result<String, Inexpressible> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if ask.host.is_empty() || !ask.host.bytes().all(plain) {
        return Err(Inexpressible::Host(ask.host.clone()));
    }
    let path = match ask.path.as_str() {
        "/v2" if again == 0 => "",
        path => path,
    };
    let slashes = if ask.path == "/v2" {
        again.saturating_sub(1)
    } else {
        again
    };
    Ok(format!(
        "{}://{}{}{}",
        ask.scheme.as_str(),
        ask.host,
        encoded(path),
        "/".repeat(slashes)
    ))
}

/// A path with everything escaped that means something else in a URL, or might to a reader of the file.
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

/// A TOML basic string.
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
