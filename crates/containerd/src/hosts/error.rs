//! What can be wrong with a hosts.toml, what containerd then does, and how to mend it.

use crate::route::SourceLocation;
use std::fmt;

/// One thing that is wrong with a registry's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFault {
    /// Which rule was broken.
    pub kind: HostsFaultKind,
    /// The file, and the line where there is one.
    pub place: SourceLocation,
    /// What was found, as a fragment. Holds no header values and no user-info.
    pub found: String,
    /// What to do about it, as a sentence.
    pub remedy: String,
}

impl fmt::Display for HostsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.found)
    }
}

/// The rules that a hosts.toml can break. Names never change: they are printed as identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostsFaultKind {
    /// Not TOML for this release.
    Syntax,
    /// A value of the wrong type.
    WrongType,
    /// A capability that this release does not know.
    UnknownCapability,
    /// A URL that Go cannot read.
    BadUrl,
    /// A `dial_timeout` that is no Go duration.
    BadDuration,
    /// No `host` table at all, which this release wants.
    NoHostTable,
    /// Something other than tables below `host`, on which this release crashes.
    Crash,
    /// Something that this tool cannot read as containerd does.
    Unsure,
    /// A file that is missing or cannot be used.
    Unusable,
    /// A host that is not written as a table header, which this release does not see.
    HostNotSeen,
    /// A host that is asked twice, because a table below it stands after another host.
    HostTwice,
    /// Hosts written as inline tables, which this release asks in no certain order.
    OrderUndefined,
    /// A host that cannot be asked, because its URL has no host or another scheme than http and https.
    NotAsked,
    /// A URL without a scheme, or with what looks like one and is read as a host.
    SchemeMissing,
    /// A setting that this release does not know, or that has no effect where it stands.
    Ignored,
    /// TLS settings on an http URL, which make this release try HTTPS first.
    HttpsFirst,
    /// `server` names `docker.io`, which is no registry.
    DockerIoServer,
}

impl HostsFaultKind {
    /// The kind as an identifier.
    pub fn id(self) -> &'static str {
        match self {
            Self::Syntax => "hosts-syntax",
            Self::WrongType => "hosts-wrong-type",
            Self::UnknownCapability => "hosts-unknown-capability",
            Self::BadUrl => "hosts-bad-url",
            Self::BadDuration => "hosts-bad-duration",
            Self::NoHostTable => "hosts-no-host-table",
            Self::Crash => "hosts-crash",
            Self::Unsure => "hosts-unsure",
            Self::Unusable => "hosts-unusable-file",
            Self::HostNotSeen => "hosts-host-not-seen",
            Self::HostTwice => "hosts-host-twice",
            Self::OrderUndefined => "hosts-order-undefined",
            Self::NotAsked => "hosts-not-asked",
            Self::SchemeMissing => "hosts-scheme-missing",
            Self::Ignored => "hosts-ignored-setting",
            Self::HttpsFirst => "hosts-https-first",
            Self::DockerIoServer => "hosts-docker-io-server",
        }
    }

    /// What containerd does about it, as a sentence.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Syntax
            | Self::WrongType
            | Self::UnknownCapability
            | Self::BadUrl
            | Self::BadDuration
            | Self::NoHostTable => {
                "containerd logs an error, ignores the whole file and asks only the registry itself."
            }
            Self::Crash => "containerd crashes at every pull from this registry.",
            Self::Unsure => "containerd may read the file in another way than this tool would.",
            Self::Unusable => "Every pull from this registry fails; no other host is asked.",
            Self::HostNotSeen => "containerd does not see this host and never asks it.",
            Self::HostTwice => "containerd asks this host twice.",
            Self::OrderUndefined => "containerd asks these hosts in an order that may change with every pull.",
            Self::NotAsked => {
                "containerd cannot ask this host: it goes on to the next, or for a `server` to the registry itself."
            }
            Self::SchemeMissing => "containerd puts `https://` in front of it.",
            Self::Ignored => "containerd ignores it without a word.",
            Self::HttpsFirst => "containerd tries HTTPS before HTTP at this host.",
            Self::DockerIoServer => "containerd asks docker.io itself, which serves no images.",
        }
    }

    /// Whether containerd ignores the whole file over it.
    pub fn discards_file(self) -> bool {
        self <= Self::NoHostTable
    }
}

/// A file that could not be read as hosts: why, where, and what to do.
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
