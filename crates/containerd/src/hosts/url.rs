//! URLs, paths and addresses as Go's standard library reads them.
//!
//! containerd parses the URLs in its files with Go's `net/url`. That differs from the URL standard of browsers in what it
//! rejects, lower-cases and decodes, and the difference decides whether a host is in a route.

use std::net::{IpAddr, Ipv6Addr};

/// The parts of a URL that containerd uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoUrl {
    /// Lower-case; empty if there is none.
    pub(crate) scheme: String,
    /// Host and port as written, without user-info; empty if there is none.
    pub(crate) host: String,
    /// Decoded. Bytes that are not UTF-8 stay percent-encoded; a registry cannot distinguish the two.
    pub(crate) path: String,
}

/// Parses `raw` as `url.Parse` of Go 1.26 does. Older releases accept a second colon in the host.
///
/// # Errors
///
/// Fails if Go rejects the URL. The error is a fragment that never quotes the URL, because it may contain a password.
pub(crate) fn parse(raw: &str) -> Result<GoUrl, &'static str> {
    let (raw, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    decode(fragment)?;
    if raw.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("a control character in the URL");
    }
    let (scheme, rest) = scheme(raw)?;
    let scheme = scheme.to_ascii_lowercase();
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let mut url = GoUrl {
        scheme,
        host: String::new(),
        path: String::new(),
    };
    if !rest.starts_with('/') {
        if !url.scheme.is_empty() {
            return Ok(url);
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("a colon in the first part of a URL without a scheme");
        }
    }
    let authority = rest
        .strip_prefix("//")
        .filter(|rest| !url.scheme.is_empty() || !rest.starts_with('/'));
    let path = match authority {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            url.host = authority_host(authority)?;
            path
        }
        None => rest,
    };
    url.path = printable(&decode(path)?);
    Ok(url)
}

fn scheme(raw: &str) -> Result<(&str, &str), &'static str> {
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("no scheme before the colon"),
            b':' => return Ok((&raw[..at], &raw[at + 1..])),
            _ => return Ok(("", raw)),
        }
    }
    Ok(("", raw))
}

fn authority_host(authority: &str) -> Result<String, &'static str> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return host(authority);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(plain) || decode(user).is_err() {
        return Err("a character that user-info cannot contain");
    }
    crate::hosts::url::host(host)
}

fn host(raw: &str) -> Result<String, &'static str> {
    let port_fault = "a port that is not a number";
    let port_ok = |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(all_digits);
    match raw.rfind('[') {
        Some(0) => {
            let close = raw.rfind(']').ok_or("no `]` after the address")?;
            let (address, port) = (&raw[1..close], &raw[close + 1..]);
            if !port_ok(port) {
                return Err(port_fault);
            }
            let address = match address.find("%25") {
                Some(at) => format!(
                    "{}{}",
                    unescape_host(&address[..at], false)?,
                    unescape_host(&address[at..], true)?
                ),
                None => unescape_host(address, false)?,
            };
            let (number, zone) = address.split_once('%').unwrap_or((&address, "zone"));
            if number.parse::<Ipv6Addr>().is_err() || zone.is_empty() {
                return Err("no IPv6 address in the brackets");
            }
            Ok(format!("[{address}]{port}"))
        }
        Some(_) => Err("a bracket inside the host"),
        None => match raw.find(':') {
            Some(colon) if !port_ok(&raw[colon..]) => Err(port_fault),
            _ => unescape_host(raw, false),
        },
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Decodes a host. Only bytes that are not ASCII may be percent-encoded in a host; a zone allows a few more.
fn unescape_host(raw: &str, zone: bool) -> Result<String, &'static str> {
    let bytes = raw.as_bytes();
    let plain = |byte: u8| byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte);
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let byte = hex(bytes, at).ok_or("a bad percent escape")?;
            let percent = raw.get(at..at + 3) == Some("%25");
            let allowed = if zone {
                byte == b' ' || plain(byte)
            } else {
                byte >= 0x80
            };
            if !percent && !allowed {
                return Err("a percent escape that a host cannot contain");
            }
            at += 3;
        } else if plain(bytes[at]) {
            at += 1;
        } else {
            return Err("a character that a host cannot contain");
        }
    }
    Ok(printable(&decode(raw)?))
}

fn hex(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

fn decode(raw: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = raw.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if bytes[at] == b'%' {
            decoded.push(hex(bytes, at).ok_or("a bad percent escape")?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    Ok(decoded)
}

fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}

/// Cleans a path as `path.Clean` does, which on Linux is also `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Joins two parts as `filepath.Join` does and makes the result absolute. A relative path is in the daemon's working
/// directory, which is `/` under systemd unless the unit sets a different directory.
pub(crate) fn join(base: &str, name: &str) -> String {
    clean(&format!("/{base}/{name}"))
}

/// Splits host and port as `net.SplitHostPort` does; returns `None` if it fails, for example without a port.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let port = &text[colon + 1..];
    let host = match text.strip_prefix('[') {
        Some(rest) => {
            let close = rest.find(']')?;
            (close + 2 == colon).then_some(&rest[..close])?
        }
        None => Some(&text[..colon]).filter(|host| !host.contains(':'))?,
    };
    (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// Returns the port of `host`, or an empty string.
pub(crate) fn port(host: &str) -> &str {
    split_host_port(host).map_or("", |(_, port)| port)
}

/// Returns true if containerd treats `host` as its own machine (`docker.IsLocalhost`): `localhost` or a loopback address,
/// with or without a port.
pub fn is_localhost(host: &str) -> bool {
    let host = split_host_port(host).map_or(host, |(host, _)| host);
    host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => {
                address.is_loopback() || address.to_ipv4_mapped().is_some_and(|address| address.is_loopback())
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Option<(String, String, String)> {
        parse(raw).ok().map(|url| (url.scheme, url.host, url.path))
    }

    #[test]
    fn parse_matches_go() {
        // Each line was read by containerd 1.7.24 and 2.4.2, built with Go 1.26.
        for (raw, scheme, host, path) in [
            ("https://a.test/v2", "https", "a.test", "/v2"),
            ("httpS://A.Test", "https", "A.Test", ""),
            ("https://user:pw@a.test/foo?x=y#z", "https", "a.test", "/foo"),
            ("https://a@b@c", "https", "c", ""),
            ("https://HTTPS://a.test", "https", "HTTPS:", "//a.test"),
            ("https://ftp://a.test", "https", "ftp:", "//a.test"),
            ("httpbin:5000", "httpbin", "", ""),
            ("http.example.com", "", "", "http.example.com"),
            ("http", "", "", "http"),
            ("https:", "https", "", ""),
            ("https:///v2", "https", "", "/v2"),
            ("https:/a.test", "https", "", "/a.test"),
            ("http:a.test:5000/x", "http", "", ""),
            ("http+unix://a", "http+unix", "a", ""),
            ("https://a.test:", "https", "a.test:", ""),
            ("https://a.test:99999", "https", "a.test:99999", ""),
            ("https://[::1]:5000", "https", "[::1]:5000", ""),
            ("https://[fe80::1%25en0]:5000", "https", "[fe80::1%en0]:5000", ""),
            ("https://[::ffff:1.2.3.4]:5", "https", "[::ffff:1.2.3.4]:5", ""),
            ("https://%C3%A9.test/a%2Fb", "https", "é.test", "/a/b"),
            ("https://a<b>\"/ x;", "https", "a<b>\"", "/ x;"),
            ("https://a.test/%ff", "https", "a.test", "/%FF"),
            ("https://a.test?", "https", "a.test", ""),
        ] {
            let wanted = (scheme.to_owned(), host.to_owned(), path.to_owned());
            assert_eq!(read(raw), Some(wanted), "{raw}");
        }
    }

    #[test]
    fn parse_rejects_what_go_rejects() {
        for raw in [
            "https://us er@a.test",
            "https://a.test#%zz",
            "https://a.test/%zz",
            "https://a.test/%2",
            "https://a test",
            "https://a.test:x",
            "https://a:1:2",
            "https://[::1",
            "https://[foo]:1",
            "https://[127.0.0.1]:1",
            "https://[1::2::3]",
            "https://[fe80::1%25]",
            "https://a[b]",
            "https://[::1]x",
            "https://%61.test",
            "https://%00",
            "https://a\u{1}",
            "https://a/\u{7f}",
            ":a",
            "1a:b",
        ] {
            assert_eq!(read(raw), None, "{raw}");
        }
    }

    #[test]
    fn paths_and_ports_match_go() {
        for (path, cleaned) in [
            ("", "."),
            ("/", "/"),
            ("//", "/"),
            ("/../..", "/"),
            ("/a/../b//c/.", "/b/c"),
            ("../a", "../a"),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
        assert_eq!(
            (join("", "docker.io"), join("/a/", "../b")),
            ("/docker.io".to_owned(), "/b".to_owned())
        );
        for (host, split) in [
            ("a:1", Some(("a", "1"))),
            ("[::1]:5000", Some(("::1", "5000"))),
            ("[::1]", None),
            ("::1", None),
            ("a", None),
            ("a:", Some(("a", ""))),
            ("[a]b:1", None),
            ("[a]:1]", None),
            ("a]:1", None),
        ] {
            assert_eq!(split_host_port(host), split, "{host}");
        }
        for host in [
            "localhost",
            "localhost:80",
            "127.9.9.9:5000",
            "::1",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_localhost(host), "{host}");
        }
        for host in [
            "LOCALHOST:1",
            "localhost.:1",
            "[::1]",
            "127.0.0.01:1",
            "0.0.0.0:1",
            "10.0.0.1",
            "docker.io",
        ] {
            assert!(!is_localhost(host), "{host}");
        }
    }
}
