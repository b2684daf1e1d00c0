//! The version of a containerd, parsed from the text that real nodes print.

use crate::rules::{self, Release, Rule};
use std::fmt;
use std::str::FromStr;

/// A containerd version: the release, which selects the rules, and its original text.
///
/// Builders append a suffix (`1.6.20~ds1`, `1.7.24~ds1-6+deb13u1`, `v2.1.9+unknown`, `v1.7.11-k3s2`), which never changes
/// the rules. A release candidate (`2.3.0-rc.1`) has the rules of its release, because the changes in the table were merged
/// before the candidates were made.
#[derive(Clone, Debug)]
pub struct Version {
    release: Release,
    text: String,
}

/// The reason why a text is not a version that this crate supports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text has no `major.minor.patch`.
    #[error("`{0}` is not a containerd version: expected something like `1.7.24` or `v2.1.9+unknown`")]
    NotAVersion(String),
    /// The release is too old: `config_path` is not reliable there.
    #[error(
        "containerd {0} is older than 1.6.0, the oldest release that Mirrorshift supports: upgrade containerd first"
    )]
    TooOld(String),
}

impl Version {
    /// Returns true if `rule` holds in this version. No other code compares versions.
    pub fn has(&self, rule: Rule) -> bool {
        rules::holds(rule, self.release)
    }

    /// Returns true if this release is newer than every release that the rules were tested with. It then has the newest
    /// rules.
    pub fn is_newer_than_known(&self) -> bool {
        (self.release.0, self.release.1) > rules::NEWEST_LINE
    }

    /// Returns `major.minor.patch`, without the builder's suffix.
    pub fn release(&self) -> String {
        let (major, minor, patch) = self.release;
        format!("{major}.{minor}.{patch}")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.release == other.release
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Parses a version, or the whole line that `containerd --version` prints.
    fn from_str(line: &str) -> Result<Self, VersionError> {
        let shown = || line.trim().chars().take(80).collect::<String>();
        let (release, text) = line
            .split_whitespace()
            .find_map(|word| Some((release_of(word)?, word)))
            .ok_or_else(|| VersionError::NotAVersion(shown()))?;
        if release < rules::OLDEST {
            return Err(VersionError::TooOld(text.to_owned()));
        }
        Ok(Self {
            release,
            text: text.chars().take(80).collect(),
        })
    }
}

fn release_of(word: &str) -> Option<Release> {
    let mut rest = word.strip_prefix('v').unwrap_or(word);
    let major = number(&mut rest)?;
    rest = rest.strip_prefix('.')?;
    let minor = number(&mut rest)?;
    rest = rest.strip_prefix('.')?;
    let patch = number(&mut rest)?;
    let builders_suffix = rest.is_empty() || rest.starts_with(['-', '+', '~']);
    builders_suffix.then_some((major, minor, patch))
}

fn number(rest: &mut &str) -> Option<u16> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    *rest = after;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_str_accepts_the_output_of_real_nodes() {
        for (text, release) in [
            ("1.6.20~ds1", "1.6.20"),
            ("1.7.24~ds1-6+deb13u1", "1.7.24"),
            ("v2.1.9+unknown", "2.1.9"),
            ("1.7.12-0ubuntu2~22.04.1", "1.7.12"),
            ("v1.7.11-k3s2", "1.7.11"),
            ("1.6.26-gke.1", "1.6.26"),
            ("2.3.0-rc.1", "2.3.0"),
            ("containerd github.com/containerd/containerd/v2 v2.2.7 0123abc", "2.2.7"),
            (
                "containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da",
                "1.7.27",
            ),
        ] {
            assert_eq!(
                text.parse::<Version>().map(|v| v.release()),
                Ok(release.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn from_str_rejects_other_text() {
        for text in ["", "1.7", "latest", "1.7.x", "99999.1.1", "1.7.24foo", "..", "v"] {
            assert!(
                matches!(text.parse::<Version>(), Err(VersionError::NotAVersion(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn old_versions_are_rejected_and_new_ones_flagged() {
        assert!(matches!("1.5.18".parse::<Version>(), Err(VersionError::TooOld(_))));
        let newer = "2.9.1".parse::<Version>().unwrap();
        assert!(newer.is_newer_than_known() && newer.has(Rule::SchemaFour));
        assert!(!"2.4.9".parse::<Version>().unwrap().is_newer_than_known());
    }
}
