//! Every finding there is, in one table: its name, how bad it is, and what containerd itself says.
//!
//! Names never change once they were released: scripts match them and `docs/findings.md` has a section for each.

use std::fmt;

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The daemon does not start, or nobody but containerd can tell whether it does.
    Refuses,
    /// The daemon starts, and CRI is dead or pulls fail.
    Breaks,
    /// Something that was written has no effect, and containerd does not say so.
    Ignored,
    /// It works, and a newer release will stop it from working.
    Deprecated,
    /// It works as it stands, and is probably not what was meant.
    Advice,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: &'static [Self] = &[
        Self::Refuses,
        Self::Breaks,
        Self::Ignored,
        Self::Deprecated,
        Self::Advice,
    ];

    /// Its name, which never changes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Breaks => "breaks",
            Self::Ignored => "ignored",
            Self::Deprecated => "deprecated",
            Self::Advice => "advice",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! catalogue {
    ($( $(#[doc = $doc:literal])+ $variant:ident, $name:literal, $severity:ident, [$($log:literal),*]; )+) => {
        /// What was found. The order is that of `docs/findings.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingId {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl FindingId {
            /// Every finding there is.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// Its name, which never changes.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// How bad it is as a rule; a single finding may be worse or milder.
            pub fn severity(self) -> Severity {
                match self { $( Self::$variant => Severity::$severity, )+ }
            }

            /// What it means, in a sentence or two.
            pub fn summary(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+).trim_ascii(), )+ }
            }

            /// What containerd itself prints or logs over it, word for word as far as it does not vary. Nothing where
            /// containerd is silent.
            pub fn logs(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[$($log),*], )+ }
            }
        }
    };
}

catalogue! {
    /// The file is no TOML.
    TomlSyntax, "toml-syntax", Refuses, ["failed to load TOML", "failed to unmarshal TOML"];
    /// The file is TOML to some releases of containerd and not to others, so this tool does not edit it.
    TomlDialect, "toml-dialect", Refuses, ["failed to load TOML", "failed to unmarshal TOML"];
    /// The file starts with a byte order mark, which containerd 1.x skips and 2.x refuses.
    ByteOrderMark, "byte-order-mark", Deprecated, ["failed to unmarshal TOML"];
    /// A configuration file cannot be read.
    FileUnreadable, "file-unreadable", Refuses, ["failed to load TOML"];
    /// An import without a glob names a file that does not exist.
    MissingImport, "missing-import", Refuses, ["no such file or directory"];
    /// A key holds a value of another type than containerd expects.
    WrongType, "wrong-type", Refuses, ["failed to unmarshal TOML", "cannot decode TOML", "Can't convert"];
    /// The `version` of a file is higher than this containerd knows.
    UnknownSchema, "unknown-schema", Refuses, ["unsupported config version", "expected containerd config version equal to or less than"];
    /// A drop-in has a higher `version` than the root file.
    NewerDropIn, "newer-drop-in", Refuses, ["drop-in config version 3 higher than root config version 2"];
    /// A plugin key of a version 2 file has a shape that containerd 1.x refuses.
    PluginKey, "plugin-key", Refuses, ["invalid plugin key URI", "expect io.containerd.x.vx"];
    /// More files are imported than this tool reads.
    TooManyFiles, "too-many-files", Refuses, [];
    /// `mirrors` and `config_path` are both set, so the CRI plugin does not load.
    BothSet, "both-set", Breaks, ["`mirrors` cannot be set when `config_path` is provided", "unknown service runtime.v1.RuntimeService"];
    /// `mirrors` is set, and this release fills in a `config_path` beside it, so the CRI plugin does not load.
    BothByDefault, "both-by-default", Breaks, ["`mirrors` cannot be set when `config_path` is provided"];
    /// `configs.<host>.tls` and `config_path` are both set, so the CRI plugin does not load.
    TlsBesideConfigPath, "tls-beside-config-path", Breaks, ["`configs.tls` cannot be set when `config_path` is provided"];
    /// A key of `auths` is no URL, so the CRI plugin does not load.
    AuthsKeyNoUrl, "auths-key-no-url", Breaks, ["failed to parse registry url"];
    /// An endpoint is no URL, which fails every pull from its registry.
    EndpointNoUrl, "endpoint-no-url", Breaks, ["parse endpoint url", "parse registry endpoint"];
    /// A CA, certificate or key file of `configs.<host>.tls` cannot be read, which fails every pull that reaches the host.
    TlsFileUnreadable, "tls-file-unreadable", Breaks, ["failed to load CA file", "failed to load cert file"];
    /// A client certificate and its key do not make a pair, which fails every pull that reaches the host.
    TlsPairUnusable, "tls-pair-unusable", Breaks, ["but no corresponding key file was specified", "but no corresponding cert file was specified", "failed to load cert file"];
    /// `configs.<host>.tls` is an unknown key since containerd 2.0.
    TlsIgnored, "tls-ignored", Ignored, ["Ignoring unknown key in TOML for plugin", "x509: certificate signed by unknown authority"];
    /// A `ca_file` holds no certificate.
    CaWithoutCertificate, "ca-without-certificate", Ignored, [];
    /// TLS settings of a host that is spoken to in plain HTTP.
    TlsOnHttp, "tls-on-http", Ignored, [];
    /// `config_path` lists several folders, and the transfer service takes the list for one folder.
    ConfigPathListIgnored, "config-path-list-ignored", Ignored, ["failed to resolve image"];
    /// `config_path` lists several folders, which is honoured only while pulls do not go through the transfer service.
    ConfigPathListFragile, "config-path-list-fragile", Deprecated, ["incompatible with transfer service", "Falling back to local image pull mode"];
    /// `config_path` names a folder that does not exist.
    ConfigPathMissing, "config-path-missing", Ignored, [];
    /// `config_path` is relative.
    ConfigPathRelative, "config-path-relative", Ignored, [];
    /// A `_default` directory is in force, and this release does not look for one.
    DefaultDirectoryUnsupported, "default-directory-unsupported", Ignored, [];
    /// Registry settings stand in a plugin table that this release does not read.
    DormantRegistry, "dormant-registry", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// Registry settings stand below a misspelt or misplaced header.
    MisspeltTable, "misspelt-table", Ignored, ["Ignoring unknown key in TOML"];
    /// A registry stands directly in `registry`, without `mirrors`.
    MirrorOutsideMirrors, "mirror-outside-mirrors", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A mirror's key was written without quotes, so its dots made tables.
    MirrorKeyUnquoted, "mirror-key-unquoted", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A mirror's key is one that no image is looked up by.
    MirrorKeyNeverMatches, "mirror-key-never-matches", Ignored, [];
    /// A mirror's key is a pattern, and containerd knows no patterns but `*` alone.
    MirrorKeyPattern, "mirror-key-pattern", Ignored, [];
    /// `endpoint` is misspelt, so the mirror has none.
    EndpointMisspelt, "endpoint-misspelt", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// `rewrite`, which only k3s and RKE2 know.
    RewriteUnknown, "rewrite-unknown", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A key of another table that slipped below a registry table.
    MisplacedKey, "misplaced-key", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A key in a registry table that no containerd knows.
    UnknownKey, "unknown-key", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// An endpoint has another scheme than http and https.
    EndpointScheme, "endpoint-scheme", Ignored, ["unsupported protocol scheme"];
    /// An endpoint has user-info, a query or a fragment.
    EndpointExtras, "endpoint-extras", Ignored, [];
    /// A key of `configs` is one that no host is looked up by.
    ConfigsKeyNeverMatches, "configs-key-never-matches", Ignored, [];
    /// A relative import with a glob is looked up below the daemon's working directory.
    RelativeImportGlob, "relative-import-glob", Ignored, [];
    /// A drop-in replaces the whole CRI table of an earlier file.
    DropInReplacesTable, "drop-in-replaces-table", Ignored, [];
    /// A drop-in of version 3 makes this release drop the CRI table of a version 2 file.
    DropInHidesTable, "drop-in-hides-table", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// `registry.mirrors` is deprecated.
    MirrorsDeprecated, "mirrors-deprecated", Deprecated, ["`mirrors` is deprecated, please use `config_path` instead", "io.containerd.deprecation/cri-registry-mirrors"];
    /// `registry.configs` is deprecated.
    ConfigsDeprecated, "configs-deprecated", Deprecated, ["`configs` is deprecated, please use `config_path` instead", "io.containerd.deprecation/cri-registry-configs"];
    /// `registry.auths` is deprecated.
    AuthsDeprecated, "auths-deprecated", Deprecated, ["`auths` is deprecated, please use `ImagePullSecrets` instead", "io.containerd.deprecation/cri-registry-auths"];
    /// The registry settings in force stand in a file without `version`, and some newer release does not read them there.
    NoVersionKey, "no-version-key", Deprecated, ["has been deprecated and will be converted on each startup", "Ignoring unknown key in TOML for plugin"];
    /// A wildcard sends every registry to hosts that may each know only one.
    WildcardSingleUpstream, "wildcard-single-upstream", Advice, ["failed to resolve reference"];
    /// An endpoint is written without a scheme.
    EndpointWithoutScheme, "endpoint-without-scheme", Advice, [];
    /// The path of an endpoint does not lead to the API, which registries have at `/v2`.
    EndpointPathWithoutV2, "endpoint-path-without-v2", Advice, [];
    /// An endpoint ends in a lone slash, which keeps containerd from adding `/v2`.
    EndpointLoneSlash, "endpoint-lone-slash", Advice, [];
    /// An endpoint is an IPv6 address, which hosts.toml cannot name on containerd 1.x.
    EndpointIpv6, "endpoint-ipv6", Advice, [];
    /// Docker Hub's own host is listed, so it is asked twice.
    EndpointHubTwice, "endpoint-hub-twice", Advice, [];
    /// `docker.io` is listed as an endpoint, which keeps containerd from asking Docker Hub's real host.
    EndpointHidesUpstream, "endpoint-hides-upstream", Advice, [];
    /// A file is imported again.
    ImportedAgain, "imported-again", Advice, [];
    /// This containerd is newer than any that this tool was checked against.
    NewerThanKnown, "newer-than-known", Advice, [];
    /// This release loses the addresses of running pods when it is restarted.
    RestartLosesAddresses, "restart-loses-addresses", Advice, [];
    /// A hosts.toml is no TOML for this release.
    HostsSyntax, "hosts-syntax", Ignored, ["failed to decode hosts.toml", "failed to decode"];
    /// A hosts.toml holds a value of the wrong type.
    HostsWrongType, "hosts-wrong-type", Ignored, ["failed to decode"];
    /// A hosts.toml names a capability that this release does not know.
    HostsUnknownCapability, "hosts-unknown-capability", Ignored, ["unknown capability"];
    /// A hosts.toml holds a URL that cannot be read.
    HostsBadUrl, "hosts-bad-url", Ignored, ["unable to parse server"];
    /// A `dial_timeout` is no duration.
    HostsBadDuration, "hosts-bad-duration", Ignored, ["failed to decode"];
    /// A hosts.toml has no `host` table, which this release wants.
    HostsNoHostTable, "hosts-no-host-table", Ignored, ["invalid `host` tree"];
    /// A hosts.toml on which this release crashes.
    HostsCrash, "hosts-crash", Breaks, [];
    /// A hosts.toml that this tool cannot be sure to read as containerd does.
    HostsUnsure, "hosts-unsure", Advice, [];
    /// A file that a hosts.toml needs is missing or cannot be used, which fails every pull from the registry.
    HostsUnusableFile, "hosts-unusable-file", Breaks, ["unable to read CA cert", "unable to load CA cert", "unable to read CERT file", "failed to load X509 key pair"];
    /// A host is not written as a table header, which this release does not see.
    HostsHostNotSeen, "hosts-host-not-seen", Ignored, [];
    /// A host is asked twice, because a table below it stands after another host.
    HostsHostTwice, "hosts-host-twice", Advice, [];
    /// Hosts are written as inline tables, which this release asks in no certain order.
    HostsOrderUndefined, "hosts-order-undefined", Advice, [];
    /// A host cannot be asked, because its URL has no host or another scheme than http and https.
    HostsNotAsked, "hosts-not-asked", Ignored, ["unsupported protocol scheme"];
    /// A URL of a hosts.toml has no scheme, or what looks like one and is read as a host.
    HostsSchemeMissing, "hosts-scheme-missing", Advice, [];
    /// A setting of a hosts.toml that this release does not know, or that has no effect where it stands.
    HostsIgnoredSetting, "hosts-ignored-setting", Ignored, [];
    /// TLS settings on an http URL make this release try HTTPS first.
    HostsHttpsFirst, "hosts-https-first", Advice, [];
    /// `server` names `docker.io`, which is no registry.
    HostsDockerIoServer, "hosts-docker-io-server", Advice, [];
    /// After the upgrade the daemon does not start with these files.
    UpgradeRefuses, "upgrade-refuses", Refuses, [];
    /// After the upgrade the CRI plugin does not load.
    UpgradeKillsCri, "upgrade-kills-cri", Breaks, ["`mirrors` cannot be set when `config_path` is provided"];
    /// After the upgrade the CRI plugin loads, which it does not now.
    UpgradeRevivesCri, "upgrade-revives-cri", Advice, [];
    /// After the upgrade other hosts are asked for a registry's images.
    UpgradeChangesRoute, "upgrade-changes-route", Deprecated, [];
    /// After the upgrade registry settings that are in force now are ignored.
    UpgradeSilences, "upgrade-silences", Deprecated, ["Ignoring unknown key in TOML for plugin"];
    /// After the upgrade registry settings that are ignored now come into force.
    UpgradeWakes, "upgrade-wakes", Deprecated, [];
    /// After the upgrade pulls go through the transfer service.
    UpgradeTransferService, "upgrade-transfer-service", Advice, ["failed to resolve image"];
}

impl FindingId {
    /// The finding of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.as_str() == name)
    }
}
