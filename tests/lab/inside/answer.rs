//! The answers of a registry: the part of the distribution protocol that a pull needs.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;

use crate::lab::content::{Content, MANIFEST};
use crate::lab::scene::{Behaviour, Guard, Host, Http, Login};

/// A response before it is converted for hyper.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) after: Duration,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            after: Duration::ZERO,
            headers: Vec::new(),
            body: text.into(),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut builder = Response::builder().status(self.status);
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Full::new(self.body.into())).unwrap_or_default()
    }
}

/// Returns the answer of `host` to a request while the image of `repository` is pulled.
pub(super) fn answer(host: &Host, http: &Http, has_cert: bool, repository: &str, content: &Content) -> Answer {
    match host.behaviour {
        Behaviour::Status(status) => Answer::text(status, "the scene specifies this status"),
        // Never sent, because such a host does not listen.
        Behaviour::Dead => Answer::text(503, "dead"),
        Behaviour::Serve => let_in(host, http, has_cert, repository, content),
        Behaviour::Slow(milliseconds) => Answer {
            after: Duration::from_millis(milliseconds),
            ..let_in(host, http, has_cert, repository, content)
        },
        // Longer than the time limit of any pull.
        Behaviour::Hangs => Answer {
            after: Duration::from_hours(1),
            ..Answer::text(504, "too late")
        },
    }
}

fn let_in(host: &Host, http: &Http, has_cert: bool, repository: &str, content: &Content) -> Answer {
    let serve = || serve(http, repository, content);
    match &host.guard {
        Guard::Open => serve(),
        Guard::Basic(login) if http.authorization == Some(basic(login)) => serve(),
        Guard::Basic(_) => Answer::text(401, "authentication required")
            .with("www-authenticate", format!("Basic realm=\"{}\"", host.name)),
        Guard::Token(login) if http.path == "/token" => token(login.as_ref(), http),
        Guard::Identity(secret) if http.path == "/token" => token_for_identity(secret, http),
        Guard::Token(login) if http.authorization == Some(format!("Bearer {}", token_of(login.as_ref()))) => serve(),
        Guard::Identity(_) if http.authorization.as_deref() == Some("Bearer token-of-identity") => serve(),
        Guard::Token(_) | Guard::Identity(_) => {
            let challenge = format!(
                "Bearer realm=\"{}://{}/token\",service=\"{}\",scope=\"repository:{repository}:pull\"",
                http.scheme, http.host, host.name,
            );
            Answer::text(401, "fetch a token").with("www-authenticate", challenge)
        }
        Guard::ClientCert if has_cert => serve(),
        Guard::ClientCert => Answer::text(400, "No required SSL certificate was sent"),
    }
}

fn serve(http: &Http, repository: &str, content: &Content) -> Answer {
    if http.path.trim_end_matches('/').ends_with("/v2") {
        return Answer::text(200, "{}");
    }
    let asked = ["/manifests/", "/blobs/"].into_iter().find_map(|kind| {
        let (name, reference) = http.path.rsplit_once(kind)?;
        // Any prefix is accepted, because registries with several projects or proxies have one.
        let ours = name
            .strip_suffix(repository)
            .is_some_and(|prefix| prefix.ends_with('/'));
        ours.then_some((kind, reference))
    });
    match asked {
        Some(("/manifests/", reference)) if !reference.contains(':') || reference == content.manifest.0 => Answer {
            body: content.manifest.1.clone(),
            ..Answer::text(200, "")
                .with("content-type", MANIFEST)
                .with("docker-content-digest", content.manifest.0.clone())
        },
        Some(("/blobs/", digest)) => match content.blobs.iter().find(|(known, _)| known == digest) {
            Some((_, bytes)) => Answer {
                body: bytes.clone(),
                ..Answer::text(200, "").with("content-type", "application/octet-stream")
            },
            None => Answer::text(404, "no such blob"),
        },
        _ => Answer::text(404, "not found"),
    }
}

fn token(login: Option<&Login>, http: &Http) -> Answer {
    // Docker's token server does not support POST; containerd then retries with GET.
    if http.method != "GET" {
        return Answer::text(405, "by GET, please");
    }
    match login {
        Some(login) if http.authorization != Some(basic(login)) => Answer::text(401, "authentication required"),
        login => granted(&token_of(login)),
    }
}

fn token_for_identity(secret: &str, http: &Http) -> Answer {
    let shown = http
        .form
        .split('&')
        .any(|pair| pair.strip_prefix("refresh_token=") == Some(secret));
    if http.method == "POST" && shown {
        granted("token-of-identity")
    } else {
        Answer::text(401, "authentication required")
    }
}

fn granted(token: &str) -> Answer {
    // The token's key is `token` in an answer to GET, and `access_token` in one to POST.
    let body = serde_json::json!({"token": token, "access_token": token, "expires_in": 3600});
    Answer {
        body: body.to_string().into_bytes(),
        ..Answer::text(200, "").with("content-type", "application/json")
    }
}

fn token_of(login: Option<&Login>) -> String {
    format!("token-of-{}", login.map_or("anybody", |login| &login.user))
}

fn basic(login: &Login) -> String {
    format!("Basic {}", BASE64.encode(format!("{}:{}", login.user, login.password)))
}
