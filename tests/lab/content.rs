//! The images that the lab's registries serve. The image of a repository is a pure function of its name, so that
//! digests are known before anything runs and no two repositories share a blob.

use sha2::{Digest, Sha256};

/// The media type of the manifests.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of uncompressed layers.
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A one-layer image.
pub(super) struct Content {
    /// The manifest and its digest.
    pub(super) manifest: (String, Vec<u8>),
    /// The configuration and the layer, each with its digest.
    pub(super) blobs: [(String, Vec<u8>); 2],
}

impl Content {
    /// Returns the image of a repository (`library/nginx`).
    pub(super) fn of(repository: &str) -> Self {
        let layer = named(archive(repository));
        let config = named(
            serde_json::json!({
                "architecture": architecture(),
                "os": "linux",
                "config": {"Labels": {"repository": repository}},
                "rootfs": {"type": "layers", "diff_ids": [layer.0]},
            })
            .to_string()
            .into_bytes(),
        );
        let manifest = named(
            serde_json::json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": config.0, "size": config.1.len(),
                },
                "layers": [{
                    "mediaType": LAYER,
                    "digest": layer.0, "size": layer.1.len(),
                }],
            })
            .to_string()
            .into_bytes(),
        );
        Self {
            manifest,
            blobs: [config, layer],
        }
    }
}

/// Returns the reference by digest of a repository's image: `ghcr.io/a/b` gives `ghcr.io/a/b@sha256:…`.
pub fn by_digest(name: &str) -> String {
    format!("{name}@{}", Content::of(&repository(name)).manifest.0)
}

/// Returns the repository of a reference, without registry, tag and digest; short names are completed as containerd
/// does.
pub fn repository(reference: &str) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let path = path.split(':').next().unwrap_or(path);
    if registry == "docker.io" && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.into()
    }
}

/// This machine's architecture, as images name it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the content with its digest.
pub(super) fn named(bytes: Vec<u8>) -> (String, Vec<u8>) {
    let digest = Sha256::digest(&bytes)
        .iter()
        .fold(String::from("sha256:"), |text, byte| format!("{text}{byte:02x}"));
    (digest, bytes)
}

/// A tar archive with one file, `repository`, which contains the name.
pub(super) fn archive(repository: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "repository");
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", repository.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(repository.as_bytes());
    // A tar entry is padded to whole blocks, and two empty blocks end the archive.
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Content, by_digest, repository};

    #[test]
    fn short_references_are_completed_like_containerd_does() {
        for (reference, expected) in [
            ("busybox", "library/busybox"),
            ("busybox:1.36", "library/busybox"),
            ("docker.io/busybox@sha256:00", "library/busybox"),
            ("user/app:1", "user/app"),
            ("ghcr.io/a/b:1", "a/b"),
            ("localhost:5000/app:1", "app"),
            ("localhost/app", "app"),
            ("10.0.20.10:5000/a/b/c:1@sha256:00", "a/b/c"),
        ] {
            assert_eq!(repository(reference), expected, "{reference}");
        }
    }

    #[test]
    fn two_repositories_share_no_blob() {
        let (one, two, again) = (Content::of("a/one"), Content::of("a/two"), Content::of("a/one"));
        assert_ne!(one.manifest.0, two.manifest.0);
        assert!(one.blobs.iter().all(|blob| !two.blobs.contains(blob)));
        assert_eq!(one.manifest, again.manifest);
        assert_eq!(by_digest("ghcr.io/a/one"), format!("ghcr.io/a/one@{}", one.manifest.0));
    }
}
