//! The registries of a cluster: one upstream that serves the names of all public registries, and pull-through caches
//! in front of it. Each is Debian's docker-registry, and logs the requests that it receives.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;

use super::audit::text_since;
use super::images::{Pushed, Store};
use super::keys::keep;
use super::network;
use super::site::{ClusterProcess, Site};
use crate::lab::node::until;
use crate::lab::pki::{Pki, server_of};

/// The public registries whose names resolve to the upstream. Since they share its storage, a repository has the same
/// images in each.
pub const UPSTREAMS: [&str; 4] = ["registry-1.docker.io", "ghcr.io", "quay.io", "registry.k8s.io"];
/// The name of the upstream among the registries.
pub const UPSTREAM: &str = "upstream";
/// The caches: the name, and whether the cache uses TLS with a certificate of an authority that no system trusts.
pub const CACHES: [(&str, bool); 3] = [("all", false), ("hub", false), ("private", true)];
/// The number of registries.
pub(super) const COUNT: u8 = 4;
const PORT: u16 = 5000;
/// Time limit for a registry to listen.
const READY: Duration = Duration::from_secs(30);

/// The registries of a cluster.
#[derive(Debug)]
pub(super) struct Registries {
    running: BTreeMap<&'static str, ClusterProcess>,
    store: Store,
    /// The client's name for each address.
    names: BTreeMap<Ipv4Addr, String>,
}

/// A position in the logs of all registries, for [`super::Cluster::accesses`].
#[derive(Clone, Debug, Default)]
pub struct Seen(BTreeMap<&'static str, u64>);

/// A request that a registry has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The time, as RFC 3339 in UTC.
    pub time: String,
    /// The registry: [`UPSTREAM`], or the name of a cache.
    pub at: String,
    /// The client: a node's name, `cache` for any cache, else an address.
    pub by: String,
    /// The Host header.
    pub host: String,
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub status: u16,
}

impl Access {
    /// Repository and tag or digest, if the request was for a manifest.
    pub fn manifest(&self) -> Option<(&str, &str)> {
        self.thing("/manifests/")
    }

    /// Repository and digest, if the request was for a blob.
    pub fn blob(&self) -> Option<(&str, &str)> {
        self.thing("/blobs/")
    }

    fn thing(&self, kind: &str) -> Option<(&str, &str)> {
        let path = self.uri.split('?').next()?;
        path.strip_prefix("/v2/")?.rsplit_once(kind)
    }
}

/// The URL of a cache, as it appears in a node's files.
pub fn endpoint(cache: &str) -> String {
    let tls = CACHES.iter().any(|(name, tls)| *name == cache && *tls);
    format!("{}://{cache}.cache.test:{PORT}", if tls { "https" } else { "http" })
}

/// The hosts file of a node in the cluster. No other name resolves.
pub(super) fn hosts() -> String {
    let upstreams = UPSTREAMS.map(|name| format!("{} {name}\n", network::registry(0)));
    let caches = CACHES.iter().zip(1..);
    let caches: Vec<String> = caches
        .map(|((name, _), i)| format!("{} {name}.cache.test\n", network::registry(i)))
        .collect();
    format!("127.0.0.1 localhost\n{}{}", upstreams.concat(), caches.concat())
}

impl Registries {
    /// Starts all registries, empty. `nodes` are the names of the nodes, in the order of their addresses.
    pub(super) fn start(site: &Site, program: &Path, pki: &Pki, tools: &Path, nodes: &[String]) -> io::Result<Self> {
        let folder = site.path("registries");
        fs::create_dir(&folder)?;
        fs::write(folder.join("trusted.crt"), &pki.trusted.cert)?;
        // A client in the bridge's own network has the network's first address.
        let mut names = BTreeMap::from([(network::PLANE, "cache".to_owned())]);
        names.extend((0..).zip(nodes).map(|(i, name)| (network::node(i), name.clone())));
        let mut all = Self {
            running: BTreeMap::new(),
            store: Store::make(&folder.join(UPSTREAM), tools)?,
            names,
        };
        let upstream = network::registry(0).to_string();
        let pair = server_of(
            &[&[upstream.as_str()], &UPSTREAMS[..]].concat(),
            Some(("lab trusted", &pki.trusted)),
        );
        keep(&folder, UPSTREAM, &pair.map_err(io::Error::other)?)?;
        configure(&folder, UPSTREAM, (0, 443), true, None)?;
        for ((name, tls), i) in CACHES.into_iter().zip(1..) {
            if tls {
                let pair = server_of(&[&format!("{name}.cache.test")], Some(("lab private", &pki.private)));
                keep(&folder, name, &pair.map_err(io::Error::other)?)?;
            }
            configure(&folder, name, (i, PORT), tls, Some(&upstream))?;
        }
        for name in registries() {
            all.run(site, program, name)?;
        }
        Ok(all)
    }

    /// Starts a registry that is not running.
    pub(super) fn run(&mut self, site: &Site, program: &Path, name: &'static str) -> io::Result<()> {
        let folder = site.path("registries");
        let mut command = Command::new(program);
        command.arg("serve").arg(folder.join(format!("{name}.yaml")));
        command.env("SSL_CERT_FILE", folder.join("trusted.crt"));
        let log = site.path("log").join(name);
        let before = fs::metadata(&log).map_or(0, |log| log.len());
        let mut process = site.start(name, &command)?;
        let listening = until(
            &format!("registry {name} does not listen"),
            (Duration::from_millis(10), READY),
            || {
                if let Err(ended) = process.lives() {
                    return Ok(Some(Err(ended)));
                }
                let said = text_since(&log, before)?;
                Ok(said.contains("\"msg\":\"listening on ").then_some(Ok(())))
            },
        );
        listening??;
        self.running.insert(name, process);
        Ok(())
    }

    pub(super) fn stop(&mut self, name: &str) {
        self.running.remove(name);
    }

    pub(super) fn push(&self, repository: &str, tag: &str, words: &str) -> io::Result<Pushed> {
        self.store.push(repository, tag, words)
    }

    pub(super) fn seen(site: &Site) -> io::Result<Seen> {
        let lengths = registries().map(|name| Ok((name, site.path("log").join(name).metadata()?.len())));
        Ok(Seen(lengths.collect::<io::Result<_>>()?))
    }

    pub(super) fn accesses(&self, site: &Site, since: &Seen) -> io::Result<Vec<Access>> {
        let mut accesses = Vec::new();
        for name in registries() {
            let from = since.0.get(name).copied().unwrap_or_default();
            let log = text_since(&site.path("log").join(name), from)?;
            accesses.extend(log.lines().filter_map(|line| self.access(name, line)));
        }
        accesses.sort_by(|one, two| one.time.cmp(&two.time));
        Ok(accesses)
    }

    /// Leaves all processes running, for another process to end.
    pub(super) fn leave(self) {
        self.running.into_values().for_each(ClusterProcess::leave);
    }

    fn access(&self, at: &str, line: &str) -> Option<Access> {
        let fields: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
        if !text("msg").starts_with("response completed") {
            return None;
        }
        let address = text("http.request.remoteaddr");
        let address = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(address, _)| address);
        let known = address.parse().ok().and_then(|address| self.names.get(&address));
        Some(Access {
            time: text("time"),
            at: at.into(),
            by: known.map_or_else(|| address.to_owned(), Clone::clone),
            host: text("http.request.host"),
            method: text("http.request.method"),
            uri: text("http.request.uri"),
            status: fields["http.response.status"]
                .as_u64()
                .and_then(|status| status.try_into().ok())?,
        })
    }
}

fn registries() -> impl Iterator<Item = &'static str> {
    [UPSTREAM].into_iter().chain(CACHES.map(|(name, _)| name))
}

/// Writes a registry's configuration; `remote` is the registry that a cache pulls from.
fn configure(folder: &Path, name: &str, (i, port): (u8, u16), tls: bool, remote: Option<&str>) -> io::Result<()> {
    let at = |file: String| folder.join(file).display().to_string();
    let mut http = serde_json::json!({"addr": format!("{}:{port}", network::registry(i)), "secret": "lab"});
    if tls {
        let (certificate, key) = (at(format!("{name}.crt")), at(format!("{name}.key")));
        http["tls"] = serde_json::json!({"certificate": certificate, "key": key});
    }
    let mut config = serde_json::json!({
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": at(name.into())}},
        "http": http,
    });
    if let Some(remote) = remote {
        config["proxy"] = serde_json::json!({"remoteurl": format!("https://{remote}")});
    }
    // JSON is valid YAML.
    fs::write(folder.join(format!("{name}.yaml")), config.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Access, COUNT, endpoint, registries};

    #[test]
    fn manifest_and_blob_requests_are_distinguished() {
        let access = |uri: &str| Access {
            time: String::new(),
            at: String::new(),
            by: String::new(),
            host: String::new(),
            method: String::new(),
            uri: uri.into(),
            status: 200,
        };
        let manifest = access("/v2/library/app/manifests/1?ns=docker.io");
        assert_eq!(
            (manifest.manifest(), manifest.blob()),
            (Some(("library/app", "1")), None)
        );
        let blob = access("/v2/app/blobs/sha256:00");
        assert_eq!((blob.manifest(), blob.blob()), (None, Some(("app", "sha256:00"))));
        assert_eq!(access("/v2/").manifest(), None);
    }

    #[test]
    fn count_is_the_number_of_registries() {
        assert_eq!(registries().count(), usize::from(COUNT));
    }

    #[test]
    fn only_private_cache_has_an_https_endpoint() {
        assert_eq!(endpoint("hub"), "http://hub.cache.test:5000");
        assert_eq!(endpoint("private"), "https://private.cache.test:5000");
    }
}
