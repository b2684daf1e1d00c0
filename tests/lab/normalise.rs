//! The parts of the recorded requests that are compared between two rounds.
//!
//! For each image and each requested thing: which hosts were contacted, in order, and with which request. Two
//! differences are ignored: the method (containerd requests a manifest with HEAD and with GET), and the same request
//! to the same host twice in a row. Blobs are fetched in parallel, so each has its own list and their relative order
//! is not compared.

use std::collections::BTreeMap;
use std::fmt::{
    Write, {self},
};

use super::scene::{Request, RoundReport, What};

/// The object of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestTarget {
    /// TLS attempts that failed, whatever they were for.
    Handshake,
    /// `/v2/`.
    Ping,
    Token,
    Tag(String),
    Digest(String),
    /// A configuration or layer.
    Blob(String),
    /// Anything else, by path.
    Other(String),
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake => f.write_str("failed TLS"),
            Self::Ping => f.write_str("ping"),
            Self::Token => f.write_str("token"),
            Self::Tag(tag) => write!(f, "manifest {tag}"),
            Self::Digest(digest) => write!(f, "manifest {}", short(digest)),
            Self::Blob(digest) => write!(f, "blob {}", short(digest)),
            Self::Other(path) => f.write_str(path),
        }
    }
}

/// Shortens a digest. The few digests of a case stay distinct.
fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}

/// A request to a host. Two of these are equal if containerd's requests were equivalent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSummary {
    /// The scene's host, `name:port`.
    pub at: String,
    /// `http`, `https`, or `tls` for a failed attempt.
    pub scheme: String,
    /// The server name that the client sent in TLS.
    pub sni: Option<String>,
    pub host: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    /// Headers that not every client sends.
    pub headers: Vec<(String, String)>,
    /// The common name of the client certificate.
    pub client_cert: Option<String>,
    /// The form of a token request.
    pub form: String,
}

impl fmt::Display for RequestSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.at, self.path)?;
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        if !self.host.is_empty() && self.host != self.at {
            write!(f, " host={}", self.host)?;
        }
        if let Some(sni) = &self.sni {
            write!(f, " sni={sni}")?;
        }
        if let Some(authorization) = &self.authorization {
            write!(f, " authorization={authorization}")?;
        }
        for (name, value) in &self.headers {
            write!(f, " {name}={value}")?;
        }
        if let Some(name) = &self.client_cert {
            write!(f, " cert={name}")?;
        }
        if !self.form.is_empty() {
            write!(f, " form={}", self.form)?;
        }
        Ok(())
    }
}

/// The requests for each image and thing, in order.
pub type RequestsByTarget = BTreeMap<(String, RequestTarget), Vec<RequestSummary>>;

/// Returns the requests of a round in a form that can be compared.
pub fn normalise(requests: &[Request]) -> RequestsByTarget {
    let mut asks = RequestsByTarget::new();
    for request in requests {
        let (thing, sent) = read(request);
        let list = asks.entry((request.image.clone(), thing.clone())).or_default();
        // Blobs are fetched in parallel, so the attempts of several may interleave. Only the order of their first
        // occurrence is compared.
        let known = if thing == RequestTarget::Handshake {
            list.contains(&sent)
        } else {
            list.last() == Some(&sent)
        };
        if !known {
            list.push(sent);
        }
    }
    asks
}

fn read(request: &Request) -> (RequestTarget, RequestSummary) {
    let mut sent = RequestSummary {
        at: request.at.clone(),
        scheme: "tls".into(),
        sni: request.sni.clone(),
        host: String::new(),
        path: String::new(),
        query: String::new(),
        authorization: None,
        headers: Vec::new(),
        client_cert: request.client_cert.clone(),
        form: String::new(),
    };
    let What::Http(http) = &request.what else {
        return (RequestTarget::Handshake, sent);
    };
    sent.scheme.clone_from(&http.scheme);
    sent.host.clone_from(&http.host);
    sent.path.clone_from(&http.path);
    sent.query.clone_from(&http.query);
    sent.authorization.clone_from(&http.authorization);
    sent.headers.clone_from(&http.headers);
    sent.form.clone_from(&http.form);
    let path = &http.path;
    let thing = if let Some((_, reference)) = path.rsplit_once("/manifests/") {
        if reference.contains(':') {
            RequestTarget::Digest(reference.into())
        } else {
            RequestTarget::Tag(reference.into())
        }
    } else if let Some((_, digest)) = path.rsplit_once("/blobs/") {
        RequestTarget::Blob(digest.into())
    } else if path == "/token" {
        RequestTarget::Token
    } else if path.trim_end_matches('/').ends_with("/v2") {
        RequestTarget::Ping
    } else {
        RequestTarget::Other(path.clone())
    };
    (thing, sent)
}

/// Returns `None` when two rounds started the same way, had the same pull results and sent the same requests;
/// otherwise a description of the differences.
pub fn compare(before: &RoundReport, after: &RoundReport) -> Option<String> {
    let mut text = String::new();
    if before.boot != after.boot {
        push(
            &mut text,
            format_args!("start:\n  before: {}\n  after:  {}", before.boot, after.boot),
        );
    }
    for (old, new) in before.pulls.iter().zip(&after.pulls) {
        // The texts of errors contain URLs and differ between kinds of pulls. The contacted hosts are compared below.
        if old.image != new.image || old.error.is_some() != new.error.is_some() {
            let ended = |error: &Option<String>| error.clone().unwrap_or_else(|| "pulled".into());
            let (old_end, new_end) = (ended(&old.error), ended(&new.error));
            push(
                &mut text,
                format_args!("{}:\n  before: {old_end}\n  after:  {new_end}", old.image),
            );
        }
    }
    if before.pulls.len() != after.pulls.len() {
        push(
            &mut text,
            format_args!("pulls: before {}, after {}", before.pulls.len(), after.pulls.len()),
        );
    }
    let (old, new) = (normalise(&before.requests), normalise(&after.requests));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (
            old.get(key).map_or(&[][..], Vec::as_slice),
            new.get(key).map_or(&[][..], Vec::as_slice),
        );
        if old != new {
            push(
                &mut text,
                format_args!("{}: {}\n  before:\n{}  after:\n{}", key.0, key.1, list(old), list(new)),
            );
        }
    }
    if text.is_empty() { None } else { Some(text) }
}

fn push(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn list(sent: &[RequestSummary]) -> String {
    if sent.is_empty() {
        return "    nobody\n".into();
    }
    let lines: Vec<String> = sent.iter().map(|sent| format!("    {sent}\n")).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::{RequestSummary, RequestTarget, compare, normalise};
    use crate::lab::scene::{Boot, Http, Pull, Request, RoundReport, What};

    fn request(method: &str, at: &str, path: &str) -> Request {
        let http = Http {
            scheme: "http".into(),
            method: method.into(),
            host: at.into(),
            path: path.into(),
            query: "ns=r".into(),
            authorization: None,
            headers: Vec::new(),
            form: String::new(),
            status: 200,
        };
        Request {
            image: "r/i:1".into(),
            at: at.into(),
            sni: None,
            client_cert: None,
            what: What::Http(http),
        }
    }

    fn report(requests: &[Request]) -> RoundReport {
        let pulls = vec![Pull {
            image: "r/i:1".into(),
            error: None,
        }];
        RoundReport {
            boot: Boot::CriOk,
            pulls,
            requests: requests.to_vec(),
            log: String::new(),
        }
    }

    fn hosts(requests: &[Request], thing: RequestTarget) -> Vec<String> {
        let at = |sent: &RequestSummary| sent.at.clone();
        normalise(requests)[&("r/i:1".to_owned(), thing)]
            .iter()
            .map(at)
            .collect()
    }

    #[test]
    fn methods_and_repetitions_are_merged_but_not_a_later_return() {
        let tag = "/v2/i/manifests/1";
        let requests = [
            request("HEAD", "a", tag),
            request("GET", "a", tag),
            request("HEAD", "b", tag),
            request("HEAD", "a", tag),
        ];
        assert_eq!(hosts(&requests, RequestTarget::Tag("1".into())), ["a", "b", "a"]);
    }

    #[test]
    fn order_of_parallel_blobs_is_ignored() {
        let (one, two) = ("/v2/i/blobs/sha256:1", "/v2/i/blobs/sha256:2");
        let straight = [
            request("GET", "a", one),
            request("GET", "b", one),
            request("GET", "a", two),
            request("GET", "b", two),
        ];
        let crossed = [
            request("GET", "a", two),
            request("GET", "a", one),
            request("GET", "b", one),
            request("GET", "b", two),
        ];
        assert_eq!(compare(&report(&straight), &report(&crossed)), None);
    }

    #[test]
    fn order_of_parallel_attempts_is_ignored() {
        let attempt = |at: &str| Request {
            what: What::TlsAttempt,
            ..request("", at, "")
        };
        let (straight, crossed) = (
            [attempt("a"), attempt("a"), attempt("b"), attempt("b")],
            ["a", "b", "a", "b"].map(attempt),
        );
        assert_eq!(compare(&report(&straight), &report(&crossed)), None);
        assert!(compare(&report(&straight), &report(&["b", "a"].map(attempt))).is_some());
    }

    /// Changes each compared field separately; each change must be found.
    #[test]
    fn change_of_each_field_is_a_difference() {
        let base = request("GET", "a", "/v2/i/manifests/1");
        let http = |change: fn(&mut Http)| {
            let mut changed = base.clone();
            if let What::Http(http) = &mut changed.what {
                change(http);
            }
            changed
        };
        let changed = [
            Request {
                at: "b".into(),
                ..base.clone()
            },
            Request {
                image: "r/i:2".into(),
                ..base.clone()
            },
            Request {
                sni: Some("a".into()),
                ..base.clone()
            },
            Request {
                client_cert: Some("client".into()),
                ..base.clone()
            },
            Request {
                what: What::TlsAttempt,
                ..base.clone()
            },
            http(|http| http.scheme = "https".into()),
            http(|http| http.host = "b".into()),
            http(|http| http.path = "/v2/x/i/manifests/1".into()),
            http(|http| http.query = String::new()),
            http(|http| http.authorization = Some("Basic eDp5".into())),
            http(|http| http.headers.push(("x".into(), "1".into()))),
            http(|http| http.form = "scope=x".into()),
        ];
        let before = report(std::slice::from_ref(&base));
        assert_eq!(
            compare(&before, &report(&[http(|http| http.method = "HEAD".into())])),
            None
        );
        for request in changed {
            assert!(
                compare(&before, &report(std::slice::from_ref(&request))).is_some(),
                "{request:?}"
            );
        }
        assert!(compare(&before, &report(&[])).is_some());
        let mut failed = before.clone();
        failed.pulls[0].error = Some("not found".into());
        assert!(compare(&before, &failed).is_some());
        assert!(
            compare(
                &before,
                &RoundReport {
                    boot: Boot::CriDead("x".into()),
                    ..before.clone()
                }
            )
            .is_some()
        );
    }
}
