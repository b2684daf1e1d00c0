//! The flags `--mirror` and `--wildcard`, which mean the same as the policy's keys.

use crate::policy::error::ValueError;
use crate::policy::host::RegistryName;
use crate::policy::mirror_url::MirrorUrl;
use crate::policy::{Fallback, Policy, Registry, Tags, Wildcard, redact};
use std::collections::{HashMap, HashSet};
use std::str::FromStr;

/// The value of one `--mirror HOST=URL`. Several flags for one host are its mirrors in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFlag {
    /// The registry whose images the mirror serves.
    pub host: RegistryName,
    /// The mirror.
    pub url: MirrorUrl,
}

impl MirrorFlag {
    /// Reads `HOST=URL`, such as `ghcr.io=http://10.0.20.10:5010`.
    ///
    /// # Errors
    /// Refuses a text without `=`, and all that [`RegistryName::parse`] and [`MirrorUrl::parse`] refuse.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let Some((host, url)) = text.split_once('=') else {
            let message = format!("`{}` has no `=`", redact::value(text));
            return Err(ValueError::new(message).hint("write `HOST=URL`, such as `ghcr.io=http://10.0.20.10:5010`"));
        };
        Ok(Self {
            host: RegistryName::parse(host)?,
            url: MirrorUrl::parse(url)?,
        })
    }
}

impl FromStr for MirrorFlag {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The value of `--wildcard`, which is the same as that of the key `wildcard`.
pub type WildcardFlag = Wildcard;

impl Wildcard {
    /// Reads `keep`, `drop` or hosts with commas between them.
    ///
    /// # Errors
    /// Refuses an empty list, a host that occurs twice, and all that [`RegistryName::parse`] refuses.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        match text.trim() {
            "keep" => return Ok(Self::Keep),
            "drop" => return Ok(Self::Drop),
            "" => return Err(no_host()),
            word if !word.contains([',', '.', ':']) && word != "localhost" => {
                let near = ["keep", "drop"]
                    .into_iter()
                    .find(|known| strsim::osa_distance(known, word) <= 2);
                let hint = near.map_or_else(
                    || "write `keep`, `drop` or hosts such as `docker.io,quay.io`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("`{}` is not `keep`, `drop` or a host", redact::value(word));
                return Err(ValueError::new(message).hint(hint));
            }
            _ => {}
        }
        Self::for_hosts(text.split(',').map(|host| RegistryName::parse(host.trim())))
    }

    /// Returns the wildcard for only these hosts.
    pub(super) fn for_hosts(hosts: impl Iterator<Item = Result<RegistryName, ValueError>>) -> Result<Self, ValueError> {
        let mut only = Vec::new();
        let mut seen = HashSet::new();
        for host in hosts {
            let host = host?;
            if !seen.insert(host.clone()) {
                return Err(ValueError::new(format!("`{host}` is named twice")).hint("name each host once"));
            }
            only.push(host);
        }
        if only.is_empty() {
            Err(no_host())
        } else {
            Ok(Self::Only(only))
        }
    }
}

fn no_host() -> ValueError {
    ValueError::new("the list of hosts for the wildcard is empty")
        .hint("write `drop` to drop the wildcard, or `keep` to keep it")
}

impl FromStr for Wildcard {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Policy {
    /// Returns the policy of a command line: the policy of the file, if there is one, with the flags applied.
    ///
    /// A flag replaces the key that it means. So `--mirror` replaces `mirrors` of its host and keeps that host's `tags` and
    /// `fallback`. Hosts that the file does not name are added at the end.
    ///
    /// # Errors
    /// Refuses a URL that occurs twice for one host, because containerd would ignore the whole `hosts.toml`.
    pub fn with_flags(
        policy: Option<Self>,
        mirrors: &[MirrorFlag],
        wildcard: Option<WildcardFlag>,
    ) -> Result<Self, ValueError> {
        let mut policy = policy.unwrap_or_default();
        if let Some(wildcard) = wildcard {
            policy.wildcard = wildcard;
        }
        let mut order = Vec::new();
        let mut urls: HashMap<&RegistryName, Vec<MirrorUrl>> = HashMap::new();
        for MirrorFlag { host, url } in mirrors {
            let of_host = urls.entry(host).or_insert_with(|| {
                order.push(host);
                Vec::new()
            });
            if of_host.contains(url) {
                let error = ValueError::new(format!("the mirror `{url}` of `{host}` is given twice"));
                return Err(error.hint("give each mirror of a host once"));
            }
            of_host.push(url.clone());
        }
        for host in order {
            let mirrors = urls.remove(host);
            match policy.registries.iter_mut().find(|registry| registry.host == *host) {
                Some(registry) => registry.mirrors = mirrors,
                None => policy.registries.push(Registry {
                    host: host.clone(),
                    mirrors,
                    tags: Tags::default(),
                    fallback: Fallback::default(),
                }),
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::{Fallback, MirrorFlag, Policy, Registry, RegistryName, Tags, Wildcard};

    fn flags(texts: &[&str]) -> Vec<MirrorFlag> {
        texts.iter().map(|text| MirrorFlag::parse(text).unwrap()).collect()
    }

    fn policy(keys: &str) -> Policy {
        let text = format!("apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n{keys}");
        Policy::parse(&text, "policy.yaml").unwrap()
    }

    #[test]
    fn flags_mean_the_same_as_the_keys() {
        let by_flags = Policy::with_flags(
            None,
            &flags(&[
                "ghcr.io=http://10.0.20.10:5010",
                "quay.io=https://q.example",
                "ghcr.io=https://b.example/v2/p",
            ]),
            Some(Wildcard::parse("docker.io, localhost:5000").unwrap()),
        );
        let by_keys = policy(
            "wildcard: [docker.io, 'localhost:5000']\nregistries:\n- host: ghcr.io\n  mirrors:\n  \
             - url: http://10.0.20.10:5010\n  - url: https://b.example/v2/p\n- host: quay.io\n  mirrors:\n  \
             - url: https://q.example\n",
        );
        assert_eq!(by_flags, Ok(by_keys));
        assert_eq!(Policy::with_flags(None, &[], None), Ok(Policy::default()));
        assert_eq!(
            Policy::with_flags(None, &[], Some(Wildcard::Drop)),
            Ok(policy("wildcard: drop"))
        );
    }

    #[test]
    fn flag_replaces_only_its_own_key() {
        let file = policy(
            "mode: migrate\nwildcard: drop\nregistries:\n- host: ghcr.io\n  fallback: none\n  mirrors:\n  \
             - url: http://old\n- host: quay.io\n  tags: upstream\n",
        );
        let flags = flags(&["docker.io=http://d", "ghcr.io=http://new", "quay.io=http://q"]);
        let merged = Policy::with_flags(Some(file.clone()), &flags, Some(Wildcard::Keep)).unwrap();
        let registry = |host: &str, url: &str, tags, fallback| Registry {
            host: RegistryName::parse(host).unwrap(),
            mirrors: Some(vec![url.parse().unwrap()]),
            tags,
            fallback,
        };
        assert_eq!((merged.mode, &merged.wildcard), (file.mode, &Wildcard::Keep));
        assert_eq!(
            merged.registries,
            [
                registry("ghcr.io", "http://new", Tags::Mirror, Fallback::None),
                registry("quay.io", "http://q", Tags::Upstream, Fallback::Upstream),
                registry("docker.io", "http://d", Tags::Mirror, Fallback::Upstream),
            ]
        );
    }

    #[test]
    fn bad_flag_is_refused_with_the_text_to_write() {
        for (text, message, hint) in [
            (
                "ghcr.io",
                "`ghcr.io` has no `=`",
                "write `HOST=URL`, such as `ghcr.io=http://10.0.20.10:5010`",
            ),
            (
                "ghcr.io=",
                "`` is not a mirror URL: the scheme is missing",
                "write `https://host[:port][/path]`, or `http://…` for a mirror without TLS",
            ),
            (
                "ghcr.io=10.0.0.1:5010",
                "`10.0.0.1:5010` is not a mirror URL: the scheme is missing",
                "write `https://10.0.0.1:5010`, or `http://10.0.0.1:5010` if it has no TLS",
            ),
            (
                "*=http://h",
                "`*` is not a registry host: it is the wildcard",
                "for registries without their own settings write `wildcard: keep | drop | HOSTS`",
            ),
        ] {
            let error = MirrorFlag::parse(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.advice()), (message, Some(hint)));
        }
        for (text, message, hint) in [
            ("kepe", "`kepe` is not `keep`, `drop` or a host", "did you mean `keep`?"),
            (
                "all",
                "`all` is not `keep`, `drop` or a host",
                "write `keep`, `drop` or hosts such as `docker.io,quay.io`",
            ),
            (
                "",
                "the list of hosts for the wildcard is empty",
                "write `drop` to drop the wildcard, or `keep` to keep it",
            ),
            ("quay.io,quay.io", "`quay.io` is named twice", "name each host once"),
        ] {
            let error = text.parse::<Wildcard>().unwrap_err();
            assert_eq!((error.to_string().as_str(), error.advice()), (message, Some(hint)));
        }
        assert!(Wildcard::parse("docker.io,").is_err() && Wildcard::parse("keep,docker.io").is_err());
        let twice = Policy::with_flags(None, &flags(&["ghcr.io=http://h", "ghcr.io=http://H/"]), None).unwrap_err();
        assert_eq!(twice.to_string(), "the mirror `http://h` of `ghcr.io` is given twice");
        let error = MirrorFlag::parse("user:hunter2@ghcr.io").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
