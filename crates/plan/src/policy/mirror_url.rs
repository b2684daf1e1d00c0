//! The URL of a mirror, limited to URLs that containerd 1.6 to 2.4 read in the same way.

use crate::policy::error::ValueError;
use crate::policy::host::{check_name, parse_port};
use crate::policy::redact;
use std::fmt;
use std::str::FromStr;

/// The hint of a refusal.
const ALLOWED: &str = "write `https://host[:port][/path]`, or `http://…` for a mirror without TLS";
/// The longest URL. No mirror needs a longer one, and a `hosts.toml` should be readable.
const LONGEST: usize = 2048;

/// The scheme of a mirror's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme as it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A mirror, `http://host[:port][/path]` or `https://…`. It never has user-info, a query or a fragment.
///
/// A path is the root of the registry's API, used unchanged, as containerd used the endpoints of `mirrors` (`registryHosts`
/// of its CRI plugin): for `https://harbor.example/v2/proxy` containerd requests `/v2/proxy/<repository>/manifests/…`.
/// Without a path the root is `/v2`.
///
/// Equal mirrors have one spelling: scheme and host are printed in lower case, and slashes at the end and the path `/v2` are
/// removed. A port is kept, even the scheme's default, because containerd finds credentials by it.
///
/// ```
/// use mirrorshift_plan::policy::MirrorUrl;
/// let url = MirrorUrl::parse("HTTP://Cache.example:5000/v2/")?;
/// assert_eq!(url.to_string(), "http://cache.example:5000");
/// assert_eq!(url.api_root(), "/v2");
/// # Ok::<(), mirrorshift_plan::policy::ValueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorUrl {
    scheme: Scheme,
    authority: String,
    path: String,
}

impl MirrorUrl {
    /// Reads a mirror's URL.
    ///
    /// # Errors
    /// Refuses a URL that some release cannot express, or with a part that containerd ignores.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| ValueError::new(format!("`{}` is not a mirror URL: {why}", redact::value(text)));
        if text.len() > LONGEST {
            return Err(refuse("it is longer than 2048 characters").hint(ALLOWED));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let hint = match Self::parse(&format!("https://{text}")) {
                Ok(url) => format!("write `{url}`, or `http://{}` if it has no TLS", url.without_scheme()),
                Err(_) => ALLOWED.to_owned(),
            };
            return Err(refuse("the scheme is missing").hint(hint));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(refuse("containerd supports only `http` and `https`").hint(ALLOWED)),
        };
        let (authority, path) = rest
            .find(['/', '?', '#', '\\'])
            .map_or((rest, ""), |at| rest.split_at(at));
        if rest.contains('@') {
            let hint = "write credentials into the node's `configs.\"HOST\".auth` or an image pull secret";
            return Err(refuse("it has user-info, which containerd ignores").hint(hint));
        }
        if rest.contains('?') {
            return Err(refuse("it has a query, which containerd ignores").hint("remove it"));
        }
        if rest.contains('#') {
            return Err(refuse("it has a fragment, which containerd ignores").hint("remove it"));
        }
        let authority = authority.to_ascii_lowercase();
        check_authority(&authority).map_err(|why| refuse(why).hint(ALLOWED))?;
        if authority == "docker.io" {
            let hint = "write `https://registry-1.docker.io`: containerd translates the name only in image names";
            return Err(refuse("no registry answers at `docker.io`").hint(hint));
        }
        let path = path.trim_end_matches('/');
        check_path(path).map_err(|why| refuse(why).hint(ALLOWED))?;
        let path = if path == "/v2" { "" } else { path };
        Ok(Self {
            scheme,
            authority,
            path: path.to_owned(),
        })
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns `host` or `host:port`, the key by which containerd finds credentials.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the host without the port.
    pub fn host(&self) -> &str {
        self.authority
            .split_once(':')
            .map_or(&*self.authority, |(host, _)| host)
    }

    /// Returns the port, when the URL has one.
    pub fn port(&self) -> Option<u16> {
        self.authority.split_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// The path that was written: empty, or with a slash in front and none at the end; never only `/v2`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path that requests begin with, for a repository and its manifests to follow.
    pub fn api_root(&self) -> &str {
        if self.path.is_empty() { "/v2" } else { &self.path }
    }

    /// Returns true when a `hosts.toml` needs `override_path = true`, because containerd would add `/v2` to the path.
    pub fn overrides_path(&self) -> bool {
        !self.api_root().ends_with("/v2")
    }

    fn without_scheme(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme,
            authority,
            path,
        } = self;
        write!(f, "{}://{authority}{path}", scheme.as_str())
    }
}

impl FromStr for MirrorUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn check_authority(authority: &str) -> Result<(), &'static str> {
    if authority.is_empty() {
        return Err("the host is missing");
    }
    let (name, port) = authority
        .split_once(':')
        .map_or((authority, None), |(name, port)| (name, Some(port)));
    check_name(name)?;
    port.map_or(Ok(()), |port| parse_port(port).map(drop))
}

/// Checks a path. Percent escapes are not allowed, because 1.x and 2.x decode them differently, and no registry has such a
/// path.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains('\\') {
        return Err("it has a backslash");
    }
    if path.contains('%') {
        return Err("percent escapes are not allowed");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:".contains(c);
    if !path.chars().all(plain) {
        return Err("its path has a space, a control character or one outside ASCII");
    }
    for segment in path.split('/').skip(1) {
        match segment {
            "" => return Err("its path has two slashes in a row"),
            "." | ".." => return Err("its path has a `.` or `..`"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, MirrorUrl, Scheme};
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    #[test]
    fn equal_mirrors_have_one_spelling() {
        for (text, canonical, root, overrides) in [
            ("http://10.0.20.10:5010", "http://10.0.20.10:5010", "/v2", false),
            ("https://mirror", "https://mirror", "/v2", false),
            ("https://mirror.example/", "https://mirror.example", "/v2", false),
            ("HTTPS://Mirror.Example/V2", "https://mirror.example/V2", "/V2", true),
            ("https://mirror.example/v2", "https://mirror.example", "/v2", false),
            ("https://mirror.example/v2//", "https://mirror.example", "/v2", false),
            (
                "https://harbor.example/v2/proxy/",
                "https://harbor.example/v2/proxy",
                "/v2/proxy",
                true,
            ),
            (
                "https://nexus.example/repository/hub/v2",
                "https://nexus.example/repository/hub/v2",
                "/repository/hub/v2",
                false,
            ),
            ("https://mirror.example:443", "https://mirror.example:443", "/v2", false),
        ] {
            let url = MirrorUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), canonical);
            assert_eq!((url.api_root(), url.overrides_path()), (root, overrides), "{text}");
            assert_eq!(MirrorUrl::parse(canonical).unwrap(), url);
        }
        let url = MirrorUrl::parse("http://h.example:5000/p").unwrap();
        assert_eq!(
            (url.scheme(), url.host(), url.port()),
            (Scheme::Http, "h.example", Some(5000))
        );
        assert_eq!((url.authority(), url.path()), ("h.example:5000", "/p"));
    }

    #[test]
    fn url_that_releases_read_differently_is_refused_with_the_reason() {
        for (text, why) in [
            ("https://", "the host is missing"),
            ("https:///v2", "the host is missing"),
            ("https://:5000", "the name is empty"),
            ("ftp://h", "containerd supports only `http` and `https`"),
            ("oci://h/p", "containerd supports only `http` and `https`"),
            (
                "http://[::1]:5000",
                "containerd 1.x cannot express an IPv6 address here",
            ),
            ("http://fd00::1", "containerd 1.x cannot express an IPv6 address here"),
            ("http://h:0", "the port is not a number from 1 to 65535"),
            ("http://h:70000", "the port is not a number from 1 to 65535"),
            ("http://h:", "the port is not a number from 1 to 65535"),
            ("http://a b", "it has a space"),
            ("http://h\\p", "it has a backslash"),
            (
                "http://h/a b",
                "its path has a space, a control character or one outside ASCII",
            ),
            (
                "http://h/\u{e9}",
                "its path has a space, a control character or one outside ASCII",
            ),
            (
                "http://h/a\"]",
                "its path has a space, a control character or one outside ASCII",
            ),
            ("http://h/a%2fb", "percent escapes are not allowed"),
            ("http://h/../etc", "its path has a `.` or `..`"),
            ("http://h//a", "its path has two slashes in a row"),
            ("http://127.1", "it ends in a number and is not an IPv4 address"),
            ("http:/h", "the scheme is missing"),
            ("", "the scheme is missing"),
        ] {
            let error = MirrorUrl::parse(text).unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("is not a mirror URL: {why}")),
                "{text:?}: {error}"
            );
            assert_eq!(error.advice(), Some(ALLOWED), "{text:?}");
        }
        assert!(
            MirrorUrl::parse(&format!("http://h/{}", "a".repeat(3000)))
                .unwrap_err()
                .to_string()
                .contains("2048")
        );
    }

    #[test]
    fn common_mistake_is_refused_with_the_text_to_write() {
        for (text, hint) in [
            (
                "10.0.20.10:5010",
                "write `https://10.0.20.10:5010`, or `http://10.0.20.10:5010` if it has no TLS",
            ),
            (
                "harbor.example/v2/p",
                "write `https://harbor.example/v2/p`, or `http://harbor.example/v2/p` if it has no TLS",
            ),
            ("https://h?ns=docker.io", "remove it"),
            ("https://h/p#x", "remove it"),
            (
                "https://docker.io",
                "write `https://registry-1.docker.io`: containerd translates the name only in image names",
            ),
        ] {
            assert_eq!(MirrorUrl::parse(text).unwrap_err().advice(), Some(hint));
        }
    }

    #[test]
    fn secret_is_never_repeated() {
        for text in [
            "https://user:hunter2@h",
            "https://user:hun/ter2@h",
            "user:hunter2@h",
            "https://hunter2@",
            "https://h/?key=hunter2",
            "ftp://user:hunter2@h",
        ] {
            let error = MirrorUrl::parse(text).unwrap_err();
            let printed = format!("{error:?} {error}");
            assert!(!printed.contains("hunter2") && !printed.contains("ter2"), "{printed}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// A parser that follows the standard reads the same host, port and path from every URL that is accepted.
        #[test]
        fn agrees_with_the_standard(text in "[hH]ttps?://[a-z0-9.-]{1,12}(:[0-9]{1,5})?(/[a-zA-Z0-9._~@%?#!:\\\\-]{0,6}){0,3}") {
            if let Ok(ours) = MirrorUrl::parse(&text) {
                let theirs = url::Url::parse(&ours.to_string()).unwrap();
                prop_assert_eq!(theirs.scheme(), ours.scheme().as_str());
                prop_assert_eq!(theirs.host_str(), Some(ours.host()));
                let default = if ours.scheme() == Scheme::Http { 80 } else { 443 };
                prop_assert_eq!(theirs.port_or_known_default(), Some(ours.port().unwrap_or(default)));
                prop_assert_eq!(theirs.path(), if ours.path().is_empty() { "/" } else { ours.path() });
                prop_assert_eq!(MirrorUrl::parse(&ours.to_string()), Ok(ours));
            }
        }

        #[test]
        fn never_panics(text in "\\PC*|https?://.*") {
            let _ = MirrorUrl::parse(&text);
        }
    }
}
