//! Runnable images, each with its own layer, and the storage folder of a registry that contains them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::lab::content::{LAYER, MANIFEST, architecture, archive, named};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest.
    pub digest: String,
    /// The digest of the configuration.
    pub config: String,
    /// The digest of the layer that no other image has. Every node already has the layer with the programs.
    pub layer: String,
}

/// The storage folder of an upstream registry: the contents of `docker/registry/v2`. A push would write the same
/// files, and the registry reads them for each request.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
    programs: (String, Vec<u8>),
}

impl Store {
    /// Creates an empty store in a folder. `tools` is the archive of the image that every node has, with a shell and
    /// common tools.
    pub(super) fn make(folder: &Path, tools: &Path) -> io::Result<Self> {
        let layer = Command::new("tar").arg("-xOf").arg(tools).arg("layer.tar").output()?;
        if !layer.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&layer.stderr).into_owned()));
        }
        Ok(Self {
            root: folder.join("docker/registry/v2"),
            programs: named(layer.stdout),
        })
    }

    /// Adds an image under a tag, which may have named another image. `words` determine the image: the same words
    /// give the same image, and its file `/repository` contains them.
    pub(super) fn push(&self, repository: &str, tag: &str, words: &str) -> io::Result<Pushed> {
        let layer = named(archive(words));
        let programs = &self.programs;
        let config = named(json(&serde_json::json!({
            "architecture": architecture(), "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "WorkingDir": "/", "Cmd": ["/bin/sleep", "1000000000"]},
            "rootfs": {"type": "layers", "diff_ids": [programs.0, layer.0]},
        })));
        let of = |kind: &str, (digest, bytes): &(String, Vec<u8>)| {
            serde_json::json!({
            "mediaType": kind, "digest": digest, "size": bytes.len(),
            })
        };
        let manifest = named(json(&serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": of("application/vnd.oci.image.config.v1+json", &config),
            "layers": [of(LAYER, programs), of(LAYER, &layer)],
        })));
        let own = self.root.join("repositories").join(repository);
        for blob in [programs, &layer, &config] {
            self.blob(blob)?;
            link(&own.join("_layers").join(below(&blob.0)), &blob.0)?;
        }
        self.blob(&manifest)?;
        let manifests = own.join("_manifests");
        link(&manifests.join("revisions").join(below(&manifest.0)), &manifest.0)?;
        let tag = manifests.join("tags").join(tag);
        link(&tag.join("index").join(below(&manifest.0)), &manifest.0)?;
        // The link comes last, because a reader of it needs all other files.
        link(&tag.join("current"), &manifest.0)?;
        Ok(Pushed {
            digest: manifest.0,
            config: config.0,
            layer: layer.0,
        })
    }

    fn blob(&self, (digest, bytes): &(String, Vec<u8>)) -> io::Result<()> {
        let hex = digest.trim_start_matches("sha256:");
        let folder = self.root.join("blobs/sha256").join(&hex[..2]).join(hex);
        put(&folder, "data", bytes)
    }
}

/// The path of a digest: `sha256/…`.
fn below(digest: &str) -> String {
    digest.replace(':', "/")
}

fn link(folder: &Path, digest: &str) -> io::Result<()> {
    put(folder, "link", digest.as_bytes())
}

/// Replaces the file atomically, because a registry may be reading it.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, bytes)?;
    fs::rename(new, folder.join(name))
}

fn json(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
