//! Finds the real containerds in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::Missing;

/// The release lines that `tests/lab/prepare` installs: first the four that every case runs on, then the two that
/// read mirrors differently from the lines before and after them.
pub const LINES: [&str; 6] = ["1.6", "1.7", "2.1", "2.4", "2.2", "2.3"];

/// A containerd in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containerd {
    pub program: PathBuf,
    /// The version: `1.6.20`. It is also the name of the folder.
    pub version: String,
    /// The version as the program prints it: `1.6.20~ds1`, `v2.4.2`, `2.1.9+unknown`.
    pub printed: String,
}

/// The cache folder: `MIRRORSHIFT_LAB`, or `mirrorshift-lab` in the user's cache folder.
pub fn cache() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("MIRRORSHIFT_LAB")
        .or_else(|| set("XDG_CACHE_HOME").map(|caches| caches.join("mirrorshift-lab")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/mirrorshift-lab")))
        .unwrap_or_else(|| "/root/.cache/mirrorshift-lab".into())
}

impl Containerd {
    /// Returns the newest containerd of a release line (`1.7`) in the cache.
    pub fn line(line: &str) -> Result<Self, Missing> {
        Self::line_in(&cache(), line)
    }

    /// Returns each of [`LINES`], or the reason why it is missing.
    pub fn all() -> Vec<Result<Self, Missing>> {
        LINES.into_iter().map(Self::line).collect()
    }

    fn line_in(cache: &Path, line: &str) -> Result<Self, Missing> {
        let found = fs::read_dir(cache.join("containerd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().into_string().ok()?;
                let patch: u32 = version.strip_prefix(line)?.strip_prefix('.')?.parse().ok()?;
                // `prepare` writes the banner last, so a folder without one is incomplete.
                let banner = fs::read_to_string(entry.path().join("banner")).ok()?;
                let printed = banner.split_whitespace().nth(2)?.to_owned();
                Some((
                    patch,
                    Self {
                        program: entry.path().join("containerd"),
                        version,
                        printed,
                    },
                ))
            });
        let missing = || Missing::Containerd {
            line: line.into(),
            cache: cache.into(),
        };
        found
            .max_by_key(|(patch, _)| *patch)
            .map(|(_, containerd)| containerd)
            .ok_or_else(missing)
    }
}
