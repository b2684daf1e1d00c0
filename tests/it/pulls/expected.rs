//! Derives the expected requests from a route: which registry of a scene must receive which request, in order.
//!
//! A pull resolves a tag at the hosts with the capability `resolve` (a digest at those with `pull`), then fetches the
//! manifest by digest and the blobs from all hosts, each from the first that has it (`Resolve` and `Fetch` of
//! core/remotes/docker).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mirrorshift_containerd::{Config, Image as Reference, RegistryHost, Route, Scheme, Tree};
use mirrorshift_tests::lab::{Behaviour, Cert, Guard, Host, Image, Login, Pki, RequestSummary, Scene, Wire, by_digest};

/// The hosts of a case, and what the node knows of them.
pub(crate) struct World<'w> {
    pub(crate) scene: &'w Scene,
    pub(crate) logins: &'w BTreeMap<String, Login>,
    pub(crate) pki: &'w Pki,
}

/// The requests that the registries of a scene must receive in one pull.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// For the manifest by tag.
    pub(crate) tag: Vec<RequestSummary>,
    /// For the manifest by digest.
    pub(crate) digest: Vec<RequestSummary>,
    /// For each blob, with the path up to the digest.
    pub(crate) blob: Vec<RequestSummary>,
    /// TLS attempts that fail.
    pub(crate) handshakes: Vec<RequestSummary>,
    /// The hosts whose token server is contacted, each with the last login that it receives.
    pub(crate) tokens: BTreeMap<String, Option<String>>,
    /// True if the pull succeeds.
    pub(crate) pulled: bool,
}

/// Merges a request that was challenged with its repetition, which has the answer to the challenge.
pub(crate) fn settled(sent: Vec<RequestSummary>) -> Vec<RequestSummary> {
    let mut settled: Vec<RequestSummary> = Vec::new();
    for sent in sent {
        let bare = |sent: &RequestSummary| RequestSummary {
            authorization: None,
            ..sent.clone()
        };
        match settled.last_mut() {
            Some(last) if bare(last) == bare(&sent) => {
                if sent.authorization.is_some() {
                    *last = sent;
                }
            }
            _ => settled.push(sent),
        }
    }
    settled
}

/// A pull in progress.
pub(crate) struct Pulling<'p> {
    pub(crate) world: &'p World<'p>,
    pub(crate) config: &'p Config,
    pub(crate) tree: &'p Tree,
    pub(crate) image: &'p Image,
    pub(crate) reference: Reference,
}

/// The result of trying one host.
enum TryResult {
    /// The host had what was requested.
    Given,
    /// The host did not have it, and the next host is tried.
    Passed,
    /// The host never answered, until containerd ended the pull.
    Stuck,
}

/// The result of a TLS handshake with a host.
enum Greeting {
    /// The host does not listen.
    Nobody,
    /// The host uses plain HTTP.
    Plain,
    /// Client and host do not trust each other.
    Distrusted,
    /// The handshake succeeded.
    Spoken,
}

impl Pulling<'_> {
    /// Returns the expected requests.
    pub(crate) fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        let Route::Hosts(hosts) = self.config.route(self.tree, &self.reference.registry) else {
            return expected;
        };
        let Reference {
            registry,
            repository,
            tag,
            digest,
        } = &self.reference;
        let of_name = || {
            by_digest(&format!("{registry}/{repository}"))
                .split('@')
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let manifest = format!("manifests/{}", digest.clone().unwrap_or_else(of_name));
        let found = if digest.is_some() {
            let (sent, found) = self.walk(
                hosts.iter().filter(|registry_host| registry_host.pulls),
                &manifest,
                &mut expected,
            );
            expected.digest = sent;
            found
        } else {
            let resolving = hosts
                .iter()
                .filter(|registry_host| registry_host.pulls && registry_host.resolves);
            let by_tag = format!("manifests/{}", tag.as_deref().unwrap_or_default());
            let (sent, found) = self.walk(resolving, &by_tag, &mut expected);
            expected.tag = sent;
            found
        };
        if !found {
            return expected;
        }
        let (sent, found) = self.walk(hosts.iter(), &manifest, &mut expected);
        expected.digest.extend(sent);
        expected.digest = settled(std::mem::take(&mut expected.digest));
        if found {
            let (sent, found) = self.walk(hosts.iter(), "blobs/", &mut expected);
            (expected.blob, expected.pulled) = (sent, found);
        }
        expected
    }

    /// Tries one host after the other until one has the thing.
    fn walk<'a>(
        &self,
        hosts: impl Iterator<Item = &'a RegistryHost>,
        thing: &str,
        expected: &mut Expected,
    ) -> (Vec<RequestSummary>, bool) {
        let mut sent = Vec::new();
        for registry_host in hosts {
            match self.ask(registry_host, thing, &mut sent, expected) {
                TryResult::Given => return (settled(sent), true),
                TryResult::Passed => {}
                TryResult::Stuck => break,
            }
        }
        (settled(sent), false)
    }

    fn ask(
        &self,
        registry_host: &RegistryHost,
        thing: &str,
        sent: &mut Vec<RequestSummary>,
        expected: &mut Expected,
    ) -> TryResult {
        match registry_host.scheme {
            Scheme::Http => self.request(registry_host, "http", thing, sent, expected),
            Scheme::Https | Scheme::HttpsThenHttp => match self.greet(registry_host, expected) {
                Greeting::Spoken => self.request(registry_host, "https", thing, sent, expected),
                // Without a port HTTPS and HTTP use different ports, so a refused connection does not show whether
                // the other works.
                Greeting::Plain if registry_host.scheme == Scheme::HttpsThenHttp => {
                    self.request(registry_host, "http", thing, sent, expected)
                }
                Greeting::Nobody if registry_host.scheme == Scheme::HttpsThenHttp && !has_port(&registry_host.host) => {
                    self.request(registry_host, "http", thing, sent, expected)
                }
                _ => TryResult::Passed,
            },
        }
    }

    fn greet(&self, registry_host: &RegistryHost, expected: &mut Expected) -> Greeting {
        let at = endpoint(&registry_host.host, 443);
        let Some(host) = self.listening(&at) else {
            return Greeting::Nobody;
        };
        let names_authority = |pem: &str| {
            registry_host
                .tls
                .ca
                .iter()
                .any(|path| self.tree.file(path).is_some_and(|file| holds(file, pem)))
        };
        let trusted = registry_host.tls.skip_verify
            || match host.wire {
                Wire::Http | Wire::Tls(Cert::SelfSigned) => false,
                Wire::Tls(Cert::Trusted) => true,
                Wire::Tls(Cert::Private) => names_authority(&self.world.pki.private.cert),
            };
        if trusted && host.wire != Wire::Http {
            return Greeting::Spoken;
        }
        let attempt = RequestSummary {
            sni: sni(&registry_host.host),
            ..blank(&at, "tls")
        };
        if !expected.handshakes.contains(&attempt) {
            expected.handshakes.push(attempt);
        }
        if host.wire == Wire::Http {
            Greeting::Plain
        } else {
            Greeting::Distrusted
        }
    }

    fn request(
        &self,
        registry_host: &RegistryHost,
        scheme: &str,
        thing: &str,
        sent: &mut Vec<RequestSummary>,
        expected: &mut Expected,
    ) -> TryResult {
        let secure = scheme == "https";
        let at = endpoint(&registry_host.host, if secure { 443 } else { 80 });
        let Some(host) = self.listening(&at) else {
            return TryResult::Passed;
        };
        let (given, authorization) = if (host.wire == Wire::Http) == secure {
            (false, None)
        } else {
            self.answer(registry_host, host, secure, expected)
        };
        let mut headers: Vec<(String, String)> = [&registry_host.headers, &self.config.registry.headers]
            .iter()
            .flat_map(|headers| headers.reveal())
            .flat_map(|(name, values)| values.iter().map(|value| (name.to_ascii_lowercase(), value.clone())))
            .collect();
        headers.sort();
        sent.push(RequestSummary {
            sni: if secure { sni(&registry_host.host) } else { None },
            host: registry_host.host.clone(),
            path: format!("{}/{}/{thing}", registry_host.path, self.reference.repository),
            query: registry_host
                .namespace
                .as_ref()
                .map(|name| format!("ns={}", name.replace(':', "%3A")))
                .unwrap_or_default(),
            authorization,
            headers,
            client_cert: if secure { self.client_cert(registry_host) } else { None },
            ..blank(&at, scheme)
        });
        match given {
            true => TryResult::Given,
            false if host.behaviour == Behaviour::Hangs => TryResult::Stuck,
            false => TryResult::Passed,
        }
    }

    /// Returns whether a host has what is requested, and the authorization that it receives last.
    fn answer(
        &self,
        registry_host: &RegistryHost,
        host: &Host,
        secure: bool,
        expected: &mut Expected,
    ) -> (bool, Option<String>) {
        if matches!(
            host.behaviour,
            Behaviour::Status(_) | Behaviour::Dead | Behaviour::Hangs
        ) {
            return (false, None);
        }
        let login = self.login(registry_host);
        // An identity token has no user, and is never sent in a header.
        let named = login.filter(|login| !login.user.is_empty());
        let basic = named.map(|login| format!("Basic {}", BASE64.encode(format!("{}:{}", login.user, login.password))));
        match &host.guard {
            Guard::Open => (true, None),
            Guard::Basic(wanted) => (login == Some(wanted), basic),
            Guard::Token(wanted) => {
                expected.tokens.insert(host.endpoint(), basic);
                let given = wanted.is_none() || login == wanted.as_ref();
                let user = wanted.as_ref().map_or("anybody", |login| &login.user);
                (given, given.then(|| format!("Bearer token-of-{user}")))
            }
            Guard::Identity(secret) => {
                expected.tokens.insert(host.endpoint(), basic);
                let given = login.is_some_and(|login| login.user.is_empty() && login.password == *secret);
                (given, given.then(|| "Bearer token-of-identity".to_owned()))
            }
            Guard::ClientCert => (secure && self.client_cert(registry_host).is_some(), None),
        }
    }

    /// Returns the login that a host receives: the pull secret, or else the login in the files (`ParseAuth`).
    fn login(&self, registry_host: &RegistryHost) -> Option<&Login> {
        let Some(secret) = &self.image.auth else {
            return registry_host
                .credentials
                .as_ref()
                .and_then(|key| self.world.logins.get(key));
        };
        let meant = self.image.server_address.as_ref().is_none_or(|address| {
            let host = address
                .split_once("://")
                .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
            host == registry_host.host
        });
        meant.then_some(secret)
    }

    fn client_cert(&self, registry_host: &RegistryHost) -> Option<String> {
        let (cert, _) = registry_host.tls.client.first()?;
        let file = self.tree.file(cert)?;
        let known = [
            ("client", &self.world.pki.client),
            ("other-client", &self.world.pki.other_client),
        ];
        known
            .iter()
            .find(|(_, pair)| holds(file, &pair.cert))
            .map(|(name, _)| (*name).to_owned())
    }

    fn listening(&self, at: &str) -> Option<&Host> {
        let mut hosts = self.world.scene.hosts.iter();
        hosts.find(|host| host.endpoint() == at && host.behaviour != Behaviour::Dead)
    }
}

fn blank(at: &str, scheme: &str) -> RequestSummary {
    RequestSummary {
        at: at.into(),
        scheme: scheme.into(),
        sni: None,
        host: String::new(),
        path: String::new(),
        query: String::new(),
        authorization: None,
        headers: Vec::new(),
        client_cert: None,
        form: String::new(),
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

fn endpoint(host: &str, port: u16) -> String {
    if has_port(host) {
        host.into()
    } else {
        format!("{host}:{port}")
    }
}

/// Returns the server name that a client sends in TLS: a name, never an address.
fn sni(host: &str) -> Option<String> {
    let name = if has_port(host) {
        host.rsplit_once(':').map_or(host, |(name, _)| name)
    } else {
        host
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>().is_err().then(|| name.to_owned())
}

fn holds(file: &[u8], pem: &str) -> bool {
    String::from_utf8_lossy(file).contains(pem.trim())
}
