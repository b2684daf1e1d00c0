//! Recognises a request by the first bytes of a connection: plain HTTP, or the `ClientHello` of TLS.

use mirrorshift_plan::rehearsal::{ObservedRequest, PROBED, Transport, port_of};
use rustls::server::Acceptor;
use std::net::SocketAddr;

/// The first byte of a TLS connection: the type of a handshake record.
const HANDSHAKE: u8 = 0x16;
/// The largest number of bytes that are read. No client sends as many before it waits for an answer.
pub(super) const MAX_FIRST_BYTES: usize = 64 << 10;

/// The meaning of the data that was received so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// More bytes are needed.
    Incomplete,
    /// A request to a registry host.
    Request(ObservedRequest),
    /// Bytes that do not belong to the pull of an image.
    Unrelated,
}

/// Parses the data that a client sent to the address `at`. The address identifies the host if the client sends no
/// name.
pub(super) fn parse(received: &[u8], at: SocketAddr) -> FirstBytes {
    match received.first() {
        None => FirstBytes::Incomplete,
        Some(&HANDSHAKE) => parse_tls(received, at),
        Some(_) => parse_http(received, at),
    }
}

fn parse_tls(received: &[u8], at: SocketAddr) -> FirstBytes {
    let mut acceptor = Acceptor::default();
    let mut rest = received;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return FirstBytes::Unrelated;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                // A client sends no server name if the host is an IP address.
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

fn parse_http(received: &[u8], at: SocketAddr) -> FirstBytes {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return FirstBytes::Incomplete;
    };
    let request = || {
        let mut lines = std::str::from_utf8(received.get(..end)?).ok()?.split("\r\n");
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
                .map(percent_decode),
        })
    };
    request().map_or(FirstBytes::Unrelated, FirstBytes::Request)
}

/// Decodes the percent escapes of a query's value. Text that is not an escape is kept.
fn percent_decode(text: &str) -> String {
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

    fn parse_text(request: &str) -> FirstBytes {
        parse(request.as_bytes(), at())
    }

    #[test]
    fn parse_http_reads_host_path_and_namespace() {
        let request = "HEAD /v2/proxy/mirrorshift/rehearsal/manifests/probe?ns=localhost%3A5000 HTTP/1.1\r\n\
            Host: M.test:5000\r\nAuthorization: Basic c2VjcmV0\r\n\r\n";
        let expected = ObservedRequest {
            wire: Transport::Http,
            host: "m.test".to_owned(),
            port: 5000,
            path: Some("/v2/proxy".to_owned()),
            namespace: Some("localhost:5000".to_owned()),
        };
        assert_eq!(parse_text(request), FirstBytes::Request(expected));
        for length in 0..request.len() {
            assert_eq!(parse_text(&request[..length]), FirstBytes::Incomplete, "{length}");
        }
    }

    #[test]
    fn parse_http_ignores_requests_for_other_paths() {
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "HEAD /v2/mirrorshift/rehearsal/manifests/probe HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(parse_text(request), FirstBytes::Unrelated, "{request}");
        }
    }

    #[test]
    fn parse_tls_reads_the_server_name_or_uses_the_address() {
        for (name, host) in [(Some("ghcr.io"), "ghcr.io"), (None, "10.0.0.5")] {
            let hello = hello(name);
            let FirstBytes::Request(request) = parse(&hello, at()) else {
                panic!("{name:?}")
            };
            assert_eq!(
                (request.wire, request.host.as_str(), request.port),
                (Transport::Tls, host, 5000)
            );
            for length in 0..hello.len() {
                assert_eq!(parse(&hello[..length], at()), FirstBytes::Incomplete, "{length}");
            }
        }
        let FirstBytes::Request(request) = parse(&hello(None), "[fd00::7]:5020".parse().unwrap()) else {
            panic!("a `ClientHello` without a name has the host's address")
        };
        assert_eq!(request.to_string(), "https://[fd00::7]:5020");
        assert_eq!(parse(&[HANDSHAKE; 400], at()), FirstBytes::Unrelated);
    }

    /// Encodes a `ClientHello` (RFC 8446, section 4.1.2).
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
