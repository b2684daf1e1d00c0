//! The name of a registry as image names spell it. It becomes the name of a folder, so the grammar is strict.

use crate::policy::error::ValueError;
use crate::policy::redact;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The hint of a refusal.
const ALLOWED: &str = "write `host` or `host:port`: a lower-case DNS name with a dot, an IPv4 address or `localhost`, with a port \
     from 1 to 65535; a name without a dot needs its port";
/// The longest DNS name.
const LONGEST: usize = 253;
/// Names of Docker Hub that never occur in a normalised image name.
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A registry as image names spell it, `host` or `host:port`; Docker Hub is `docker.io`.
///
/// The grammar allows lower-case DNS names, IPv4 addresses and ports, as far as containerd reads them as a domain
/// (`reference.DomainRegexp`, and `splitDockerDomain`: a name without a dot and a port is a path on Docker Hub, unless it is
/// `localhost`). Such a name cannot lead out of a folder, and is never `_default`.
///
/// ```
/// use mirrorshift_plan::policy::RegistryName;
/// assert_eq!(RegistryName::parse("registry.example:5000")?.port(), Some(5000));
/// assert!(RegistryName::parse("../../etc").is_err());
/// # Ok::<(), mirrorshift_plan::policy::ValueError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryName(String);

impl RegistryName {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    /// Refuses anything else, with the reason and a hint.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let refuse = |why: &str| {
            Err(ValueError::new(format!(
                "`{}` is not a registry host: {why}",
                redact::value(text)
            )))
        };
        if text == "*" {
            return refuse("it is the wildcard").map_err(|error: ValueError| {
                error.hint("for registries without their own settings write `wildcard: keep | drop | HOSTS`")
            });
        }
        let (name, port) = text
            .split_once(':')
            .map_or((text, None), |(name, port)| (name, Some(port)));
        if let Err(why) = check_name(name).and_then(|()| port.map_or(Ok(()), |port| parse_port(port).map(drop))) {
            let lower = text.to_ascii_lowercase();
            let hint = match Self::parse_scheme(text) {
                Some(host) => format!("write only the host: `{host}`"),
                None if lower != text && Self::parse(&lower).is_ok() => format!("write `{lower}`"),
                None => ALLOWED.to_owned(),
            };
            return refuse(why).map_err(|error| error.hint(hint));
        }
        if DOCKER_HUB_ALIASES.contains(&name) {
            return refuse("image names spell Docker Hub `docker.io`").map_err(|error| error.hint("write `docker.io`"));
        }
        if port.is_none() && !name.contains('.') && name != "localhost" {
            return refuse("without a dot or a port containerd reads it as a path on Docker Hub")
                .map_err(|error| error.hint(ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the host of a URL that is written in place of a host.
    fn parse_scheme(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        Self::parse(rest.split('/').next()?).ok()
    }

    /// Returns the name as image names spell it, which is also the name of its folder.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name without the port.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(name, _)| name)
    }

    /// Returns the port, when the name has one.
    pub fn port(&self) -> Option<u16> {
        self.0.split_once(':').and_then(|(_, port)| port.parse().ok())
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Checks that `name` is a lower-case DNS name or an IPv4 address.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.len() > LONGEST {
        return Err("it is longer than the 253 characters of a DNS name");
    }
    if name.starts_with('[') {
        return Err("containerd 1.x cannot express an IPv6 address here");
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("it has upper-case letters");
    }
    if let Some(wrong) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
        return Err(match wrong {
            ' ' | '\t' | '\r' | '\n' => "it has a space",
            '/' | '\\' => "it has a slash",
            '%' => "percent escapes are not allowed",
            '_' => "the name of a registry has no underscore",
            '@' => "it has user-info",
            c if c.is_ascii() => "it has a character that is not allowed in a DNS name",
            _ => "it has characters outside ASCII",
        });
    }
    for label in name.split('.') {
        match label {
            "" => return Err("it begins or ends with a dot, or has two in a row"),
            _ if label.starts_with('-') || label.ends_with('-') => return Err("a part begins or ends with `-`"),
            _ if label.len() > 63 => return Err("a part between dots is longer than 63 characters"),
            _ => {}
        }
    }
    // URL parsers read a name whose last part is a number as an IPv4 address, and disagree about unusual ones.
    let last = name.rsplit('.').next().unwrap_or(name);
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if number && name.parse::<Ipv4Addr>().is_err() {
        return Err("it ends in a number and is not an IPv4 address");
    }
    Ok(())
}

/// Parses a port that has only one spelling, because containerd keeps the spelling.
pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    if text.contains(':') {
        return Err("containerd 1.x cannot express an IPv6 address here");
    }
    if text.is_empty() || text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the port is not a number from 1 to 65535");
    }
    text.parse().map_err(|_| "the port is not a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, RegistryName};

    #[test]
    fn hosts_of_real_images_are_accepted() {
        for text in [
            "docker.io",
            "ghcr.io",
            "registry.k8s.io",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "localhost",
            "localhost:5000",
            "registry:5000",
            "10.0.20.10",
            "10.0.20.10:1",
            "127.0.0.1:65535",
            "xn--bcher-kva.example",
            "a--b.example",
            "1a.2b",
        ] {
            let host = RegistryName::parse(text).unwrap();
            assert_eq!((host.as_str(), host.to_string()), (text, text.to_owned()));
            let port = text.split_once(':').map(|(_, port)| port.parse().unwrap());
            assert_eq!((host.name(), host.port()), (text.split(':').next().unwrap(), port));
        }
    }

    #[test]
    fn other_text_is_refused_with_a_reason_and_a_hint() {
        let long = format!("{}.io", "a.".repeat(150));
        for (text, why) in [
            ("", "the name is empty"),
            (":5000", "the name is empty"),
            ("../../etc", "it has a slash"),
            ("..", "it begins or ends with a dot, or has two in a row"),
            (".", "it begins or ends with a dot, or has two in a row"),
            ("a..io", "it begins or ends with a dot, or has two in a row"),
            ("ghcr.io.", "it begins or ends with a dot, or has two in a row"),
            ("a b", "it has a space"),
            ("ghcr.io\n", "it has a space"),
            (&long, "it is longer than the 253 characters of a DNS name"),
            ("bücher.example", "it has characters outside ASCII"),
            ("ghcr%2eio", "percent escapes are not allowed"),
            ("-ghcr.io", "a part begins or ends with `-`"),
            ("ghcr-.io", "a part begins or ends with `-`"),
            ("_default", "the name of a registry has no underscore"),
            ("ghcr.io_5000_", "the name of a registry has no underscore"),
            ("ghcr.io\0", "it has a character that is not allowed in a DNS name"),
            ("*.io", "it has a character that is not allowed in a DNS name"),
            ("ghcr.io:0", "the port is not a number from 1 to 65535"),
            ("ghcr.io:99999", "the port is not a number from 1 to 65535"),
            ("ghcr.io:05000", "the port is not a number from 1 to 65535"),
            ("ghcr.io:+5", "the port is not a number from 1 to 65535"),
            ("ghcr.io:", "the port is not a number from 1 to 65535"),
            ("[::1]", "containerd 1.x cannot express an IPv6 address here"),
            ("[fd00::1]:5000", "containerd 1.x cannot express an IPv6 address here"),
            ("fd00::1", "containerd 1.x cannot express an IPv6 address here"),
            ("256.1.1.1", "it ends in a number and is not an IPv4 address"),
            ("1.2.3:80", "it ends in a number and is not an IPv4 address"),
            ("10.0.0.0x1", "it ends in a number and is not an IPv4 address"),
            ("010.0.0.1", "it ends in a number and is not an IPv4 address"),
            (
                "library",
                "without a dot or a port containerd reads it as a path on Docker Hub",
            ),
            (
                "keep",
                "without a dot or a port containerd reads it as a path on Docker Hub",
            ),
        ] {
            let error = RegistryName::parse(text).unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("is not a registry host: {why}")),
                "{text:?}: {error}"
            );
            assert_eq!(error.advice(), Some(ALLOWED), "{text:?}");
        }
    }

    #[test]
    fn common_mistake_is_refused_with_the_text_to_write() {
        for (text, hint) in [
            ("index.docker.io", "write `docker.io`"),
            ("registry-1.docker.io", "write `docker.io`"),
            ("index.docker.io:443", "write `docker.io`"),
            ("GHCR.io", "write `ghcr.io`"),
            ("https://ghcr.io/v2", "write only the host: `ghcr.io`"),
            (
                "*",
                "for registries without their own settings write `wildcard: keep | drop | HOSTS`",
            ),
        ] {
            assert_eq!(RegistryName::parse(text).unwrap_err().advice(), Some(hint));
        }
        let error = RegistryName::parse("https://user:hunter2@ghcr.io").unwrap_err();
        assert!(!format!("{error:?}{error}").contains("hunter2"));
    }
}
