//! Faults of a hosts.toml, with their effect on containerd and their remedy.

use crate::route::SourceLocation;
use std::fmt;

/// A fault in a registry's hosts directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFault {
    /// The kind of fault.
    pub kind: HostsFaultKind,
    /// The file, and the line if it is known.
    pub place: SourceLocation,
    /// The fault, as a fragment without header values and user-info.
    pub found: String,
    /// An instruction for the operator, as a sentence.
    pub remedy: String,
}

impl fmt::Display for HostsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.found)
    }
}

/// The kinds of faults of a hosts.toml. Their identifiers are printed, so they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostsFaultKind {
    /// Not TOML for this release.
    Syntax,
    /// A value of the wrong type.
    WrongType,
    /// A capability that this release does not know.
    UnknownCapability,
    /// A URL that Go cannot parse.
    BadUrl,
    /// A `dial_timeout` that is not a Go duration.
    BadDuration,
    /// The file has no `host` table, which this release requires.
    NoHostTable,
    /// A file on which this release crashes, such as one with other values than tables in `host`.
    Crash,
    /// A file for which this crate cannot determine how containerd reads it.
    EffectUnknown,
    /// A file that is missing or cannot be used.
    Unusable,
    /// A host that is not written as a table header, so this release ignores it.
    HostNotSeen,
    /// A host that containerd tries twice, because one of its tables is after another host.
    HostTwice,
    /// Hosts written as inline tables, which this release tries in no fixed order.
    OrderUndefined,
    /// A host that containerd cannot contact, because its URL has no host or a scheme other than http and https.
    NeverContacted,
    /// A URL without a scheme, or with a scheme that containerd reads as a host.
    SchemeMissing,
    /// A setting that this release does not know, or that has no effect in its place.
    Ignored,
    /// TLS settings on an http URL, which make this release try HTTPS first.
    HttpsFirst,
    /// `server` names `docker.io`, which does not serve images.
    DockerIoServer,
}

impl HostsFaultKind {
    /// Returns the identifier of this kind.
    pub fn id(self) -> &'static str {
        match self {
            Self::Syntax => "hosts-syntax",
            Self::WrongType => "hosts-wrong-type",
            Self::UnknownCapability => "hosts-unknown-capability",
            Self::BadUrl => "hosts-bad-url",
            Self::BadDuration => "hosts-bad-duration",
            Self::NoHostTable => "hosts-no-host-table",
            Self::Crash => "hosts-crash",
            Self::EffectUnknown => "hosts-effect-unknown",
            Self::Unusable => "hosts-unusable-file",
            Self::HostNotSeen => "hosts-host-not-seen",
            Self::HostTwice => "hosts-host-twice",
            Self::OrderUndefined => "hosts-order-undefined",
            Self::NeverContacted => "hosts-never-contacted",
            Self::SchemeMissing => "hosts-scheme-missing",
            Self::Ignored => "hosts-ignored-setting",
            Self::HttpsFirst => "hosts-https-first",
            Self::DockerIoServer => "hosts-docker-io-server",
        }
    }

    /// Returns the effect on containerd, as a sentence.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Syntax
            | Self::WrongType
            | Self::UnknownCapability
            | Self::BadUrl
            | Self::BadDuration
            | Self::NoHostTable => {
                "containerd logs an error, ignores the whole file and contacts the registry directly."
            }
            Self::Crash => "containerd crashes at every pull from this registry.",
            Self::EffectUnknown => "containerd may read the file differently from Mirrorshift.",
            Self::Unusable => "Every pull from this registry fails; containerd does not try another host.",
            Self::HostNotSeen => "containerd ignores this host and never tries it.",
            Self::HostTwice => "containerd tries this host twice.",
            Self::OrderUndefined => "containerd tries these hosts in an order that may change with every pull.",
            Self::NeverContacted => {
                "containerd cannot contact this host. It continues with the next host, or for a `server` with the registry itself."
            }
            Self::SchemeMissing => "containerd puts `https://` in front of it.",
            Self::Ignored => "containerd silently ignores it.",
            Self::HttpsFirst => "containerd tries HTTPS before HTTP on this host.",
            Self::DockerIoServer => "containerd tries docker.io itself, which does not serve images.",
        }
    }

    /// Returns true if containerd ignores the whole file because of this fault.
    pub fn discards_file(self) -> bool {
        self <= Self::NoHostTable
    }
}

/// A fault of a hosts.toml whose path is not yet known.
#[derive(Debug)]
pub(super) struct HostsFileError {
    pub(super) kind: HostsFaultKind,
    pub(super) found: String,
    pub(super) line: Option<usize>,
    pub(super) remedy: String,
}

impl HostsFileError {
    pub(super) fn at(self, path: &str) -> HostsFault {
        let Self {
            kind,
            found,
            line,
            remedy,
        } = self;
        let place = SourceLocation {
            path: path.to_owned(),
            line,
        };
        HostsFault {
            kind,
            place,
            found,
            remedy,
        }
    }
}
