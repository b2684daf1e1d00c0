//! What a client says first, and to whom: a plain request, or the greeting of TLS.

use mirrorshift_plan::rehearsal::{ObservedRequest, PROBED, Transport, port_of};
use rustls::server::Acceptor;
use std::net::SocketAddr;

/// The first byte of a TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// More than any client says before it wants an answer: bytes.
pub(super) const MOST: usize = 64 << 10;

/// What is known so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// There must be more to come.
    Incomplete,
    /// Somebody was asked.
    Request(ObservedRequest),
    /// It is nothing that an image is asked for with.
    Unrelated,
}

/// Reads what a client has said at the address `at`, which names the one it meant where it gives no name.
pub(super) fn read(said: &[u8], at: SocketAddr) -> FirstBytes {
    match said.first() {
        None => FirstBytes::Incomplete,
        Some(&HANDSHAKE) => tls(said, at),
        Some(_) => plain(said, at),
    }
}

fn tls(said: &[u8], at: SocketAddr) -> FirstBytes {
    let mut acceptor = Acceptor::default();
    let mut rest = said;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return FirstBytes::Unrelated;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                // Addresses are not sent as names.
                let host = match hello.server_name() {
                    Some(name) => name.to_ascii_lowercase(),
                    None => at.ip().to_string(),
                };
                return FirstBytes::Request(ObservedRequest {
                    wire: Transport::Tls,
                    host,
                    port: at.port(),
                    path: None,
                    namespace: None,
                });
            }
            Err(_) => return FirstBytes::Unrelated,
        }
    }
    FirstBytes::Incomplete
}

fn plain(said: &[u8], at: SocketAddr) -> FirstBytes {
    let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") else {
        return FirstBytes::Incomplete;
    };
    let asked = || {
        let mut lines = std::str::from_utf8(said.get(..end)?).ok()?.split("\r\n");
        let target = lines.next()?.split(' ').nth(1)?;
        let host = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("host").then(|| value.trim())
        })?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (before, _) = path.split_once(&format!("/{PROBED}/"))?;
        let (host, _) = port_of(host, at.port());
        Some(ObservedRequest {
            wire: Transport::Http,
            host,
            port: at.port(),
            path: Some(before.to_owned()),
            namespace: query
                .split('&')
                .find_map(|pair| pair.strip_prefix("ns="))
                .map(unescaped),
        })
    };
    asked().map_or(FirstBytes::Unrelated, FirstBytes::Request)
}

/// A value of a query without its escapes. What is no escape stays.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> SocketAddr {
        "10.0.0.5:5000".parse().unwrap()
    }

    fn plain_of(request: &str) -> FirstBytes {
        read(request.as_bytes(), at())
    }

    #[test]
    fn a_plain_request_names_host_path_and_registry() {
        let request = "HEAD /v2/proxy/mirrorshift/rehearsal/manifests/probe?ns=localhost%3A5000 HTTP/1.1\r\n\
            Host: M.test:5000\r\nAuthorization: Basic c2VjcmV0\r\n\r\n";
        let asked = ObservedRequest {
            wire: Transport::Http,
            host: "m.test".to_owned(),
            port: 5000,
            path: Some("/v2/proxy".to_owned()),
            namespace: Some("localhost:5000".to_owned()),
        };
        assert_eq!(plain_of(request), FirstBytes::Request(asked));
        for length in 0..request.len() {
            assert_eq!(plain_of(&request[..length]), FirstBytes::Incomplete, "{length}");
        }
    }

    #[test]
    fn what_asks_for_no_image_is_nothing() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HEAD /v2/mirrorshift/rehearsal/manifests/probe HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(plain_of(request), FirstBytes::Unrelated, "{request}");
        }
    }

    #[test]
    fn a_name_in_a_greeting_of_tls_is_told_and_its_absence_too() {
        for (name, host) in [(Some("ghcr.io"), "ghcr.io"), (None, "10.0.0.5")] {
            let hello = hello(name);
            let FirstBytes::Request(asked) = read(&hello, at()) else {
                panic!("{name:?}")
            };
            assert_eq!(
                (asked.wire, asked.host.as_str(), asked.port),
                (Transport::Tls, host, 5000)
            );
            for length in 0..hello.len() {
                assert_eq!(read(&hello[..length], at()), FirstBytes::Incomplete, "{length}");
            }
        }
        let FirstBytes::Request(asked) = read(&hello(None), "[fd00::7]:5020".parse().unwrap()) else {
            panic!("by its address alone")
        };
        assert_eq!(asked.to_string(), "https://[fd00::7]:5020");
        assert_eq!(read(&[HANDSHAKE; 400], at()), FirstBytes::Unrelated);
    }

    /// A greeting as RFC 8446, section 4.1.2 has it.
    fn hello(name: Option<&str>) -> Vec<u8> {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
        let extension = |kind: u8, body: &[u8]| [&[0, kind], &length(body)[..], body].concat();
        let mut extensions = Vec::new();
        if let Some(name) = name {
            let entry = [&[0], &length(name.as_bytes())[..], name.as_bytes()].concat();
            extensions.extend(extension(0, &[&length(&entry)[..], &entry].concat()));
        }
        // Signature algorithms, groups and versions.
        extensions.extend(extension(13, &[0, 2, 4, 3]));
        extensions.extend(extension(10, &[0, 2, 0, 29]));
        extensions.extend(extension(43, &[2, 3, 4]));
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        body.extend(length(&extensions));
        body.extend(extensions);
        let message = [&[1, 0], &length(&body)[..], &body].concat();
        [&[HANDSHAKE, 3, 1], &length(&message)[..], &message].concat()
    }
}
