//! Image references: the registry, repository, tag and digest that a route depends on.

use std::fmt;
use std::str::FromStr;

/// A registry that no file names. It represents every other registry when routes are compared.
pub const UNNAMED_REGISTRY: &str = "unnamed.invalid";

/// A normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The registry with its port; `docker.io` if the reference has none.
    pub registry: String,
    /// The repository, with the `library/` that Docker Hub implies.
    pub repository: String,
    /// The tag; `latest` if the reference has neither tag nor digest.
    pub tag: Option<String>,
    /// The digest, `sha256:…`.
    pub digest: Option<String>,
}

/// An error for text that is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an image reference: {1}")]
pub struct ImageError(String, &'static str);

impl FromStr for Image {
    type Err = ImageError;

    /// Parses and normalises a reference as containerd does (distribution/reference, `ParseDockerRef`).
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let refuse = |why| Err(ImageError(text.chars().take(80).collect(), why));
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let is_digest = |digest: &str| {
            digest.split_once(':').is_some_and(|(kind, hex)| {
                let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
                word(kind) && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return refuse("its digest is not of the form `sha256:` and 64 hexadecimal digits");
        }
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        let tag_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.bytes().all(tag_byte)) {
            return refuse("its tag has characters that a tag cannot have");
        }
        let path_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-' | b'/');
        if path.is_empty() || path.len() > 255 || !path.bytes().all(path_byte) || path.split('/').any(str::is_empty) {
            return refuse("a repository is lower-case words joined by `/`, at most 255 characters");
        }
        if !is_registry(&domain) {
            return refuse("its registry is not a host name with an optional port");
        }
        let implied = domain == "docker.io" && !path.contains('/');
        let repository = if implied {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        // containerd drops the tag if there is a digest.
        let tag = match digest {
            Some(_) => None,
            None => Some(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self {
            registry: domain,
            repository,
            tag,
            digest: digest.map(str::to_owned),
        })
    }
}

fn split_domain(name: &str) -> (String, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            let domain = if first == "index.docker.io" { "docker.io" } else { first };
            (domain.to_owned(), rest)
        }
        _ => ("docker.io".to_owned(), name),
    }
}

/// Returns true if `text` is a host name or address with an optional port, as in the registry part of a reference.
pub fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_is_good = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let bracketed = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| {
            !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        })
    };
    text.len() <= 255 && port_is_good && (bracketed(host) || host.split('.').all(label))
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_in_containerd() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, normal) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("grafana/loki:3", "docker.io/grafana/loki:3".to_owned()),
            (
                "index.docker.io/library/nginx",
                "docker.io/library/nginx:latest".to_owned(),
            ),
            ("localhost/x", "localhost/x:latest".to_owned()),
            ("localhost:5000/x:1", "localhost:5000/x:1".to_owned()),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest".to_owned()),
            ("Registry/x", "Registry/x:latest".to_owned()),
            (&format!("quay.io/a/b:1@{digest}"), format!("quay.io/a/b@{digest}")),
        ] {
            assert_eq!(text.parse::<Image>().map(|image| image.to_string()), Ok(normal));
        }
    }

    #[test]
    fn malformed_references_are_rejected() {
        let long = "a".repeat(300);
        for text in [
            "",
            "a b",
            "../../etc",
            "a//b",
            "ghcr.io/",
            "x:",
            "x:a b",
            "x@sha256:zz",
            "-x.io/a",
            "A",
            &long,
        ] {
            assert!(text.parse::<Image>().is_err(), "{text}");
        }
    }
}
