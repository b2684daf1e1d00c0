//! The table of all findings: name, usual severity, summary, and the lines that containerd itself logs.
//!
//! A released name never changes, because scripts match it. `docs/findings.md` has a section for each.

use std::fmt;

/// The severity of a finding. The worst is the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The daemon does not start, or Mirrorshift cannot determine whether it starts.
    Refuses,
    /// The daemon starts, but the CRI plugin does not load, or pulls fail.
    Breaks,
    /// A setting has no effect, and containerd does not report it, or reports it only in its log.
    Ignored,
    /// The setting works, and a newer release will stop it from working.
    Deprecated,
    /// The setting works, and is probably not what its author intended.
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

    /// Returns the name, which never changes.
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

/// The page that explains every finding.
const MANUAL: &str = include_str!("../../../../docs/findings.md");

impl FindingId {
    /// Returns the section of `docs/findings.md` about this finding, as Markdown, without its heading.
    pub fn documentation(self) -> &'static str {
        let heading = format!("\n## `{}`\n", self.as_str());
        let section = MANUAL.split_once(heading.as_str()).map_or("", |(_, section)| section);
        section.split("\n## ").next().unwrap_or_default().trim()
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! catalogue {
    ($( $(#[doc = $doc:literal])+ $variant:ident, $name:literal, $severity:ident, [$($log:literal),*]; )+) => {
        /// Identifies a kind of finding. The order is that of `docs/findings.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingId {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl FindingId {
            /// Every kind of finding.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// Returns the name, which never changes.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// Returns the usual severity. A single finding may be more or less severe.
            pub fn severity(self) -> Severity {
                match self { $( Self::$variant => Severity::$severity, )+ }
            }

            /// Returns a summary of one or two sentences.
            pub fn summary(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+).trim_ascii(), )+ }
            }

            /// Returns the lines that containerd itself prints or logs, verbatim as far as they do not vary. The list is
            /// empty where containerd is silent.
            pub fn logs(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[$($log),*], )+ }
            }
        }
    };
}

catalogue! {
    /// The file is not valid TOML.
    TomlSyntax, "toml-syntax", Refuses, ["failed to load TOML", "failed to unmarshal TOML"];
    /// Some releases of containerd accept the file as TOML and others reject it, so Mirrorshift does not edit it.
    TomlDialect, "toml-dialect", Refuses, ["failed to load TOML", "failed to unmarshal TOML"];
    /// The file starts with a byte order mark, which containerd 1.x skips and 2.x rejects.
    ByteOrderMark, "byte-order-mark", Deprecated, ["failed to unmarshal TOML"];
    /// A configuration file cannot be read.
    FileUnreadable, "file-unreadable", Refuses, ["failed to load TOML"];
    /// An import without a glob names a file that does not exist.
    MissingImport, "missing-import", Refuses, ["no such file or directory"];
    /// A key has a value of another type than containerd expects.
    WrongType, "wrong-type", Refuses, ["failed to unmarshal TOML", "cannot decode TOML", "Can't convert"];
    /// The `version` of a file is higher than this containerd supports.
    UnknownSchema, "unknown-schema", Refuses, ["unsupported config version", "expected containerd config version equal to or less than"];
    /// A drop-in has a higher `version` than the root file.
    NewerDropIn, "newer-drop-in", Refuses, ["drop-in config version 3 higher than root config version 2"];
    /// A plugin key in a file with `version = 2` has a form that containerd 1.x rejects.
    PluginKey, "plugin-key", Refuses, ["invalid plugin key URI", "expect io.containerd.x.vx"];
    /// The configuration imports more files than Mirrorshift reads.
    TooManyFiles, "too-many-files", Refuses, [];
    /// `mirrors` and `config_path` are both set, so the CRI plugin does not load.
    BothSet, "both-set", Breaks, ["`mirrors` cannot be set when `config_path` is provided", "unknown service runtime.v1.RuntimeService"];
    /// `mirrors` is set, and this release sets `config_path` by default, so the CRI plugin does not load.
    BothByDefault, "both-by-default", Breaks, ["`mirrors` cannot be set when `config_path` is provided"];
    /// `configs.<host>.tls` and `config_path` are both set, so the CRI plugin does not load.
    TlsWithConfigPath, "tls-with-config-path", Breaks, ["`configs.tls` cannot be set when `config_path` is provided"];
    /// A key of `auths` is not a URL, so the CRI plugin does not load.
    AuthsKeyInvalidUrl, "auths-key-invalid-url", Breaks, ["failed to parse registry url"];
    /// An endpoint is not a URL, so every pull from its registry fails.
    EndpointInvalidUrl, "endpoint-invalid-url", Breaks, ["parse endpoint url", "parse registry endpoint"];
    /// A CA, certificate or key file of `configs.<host>.tls` cannot be read, so every pull that reaches the host
    /// fails.
    TlsFileUnreadable, "tls-file-unreadable", Breaks, ["failed to load CA file", "failed to load cert file"];
    /// A client certificate and its key cannot be used together, so every pull that reaches the host fails.
    TlsPairUnusable, "tls-pair-unusable", Breaks, ["but no corresponding key file was specified", "but no corresponding cert file was specified", "failed to load cert file"];
    /// containerd 2.0 and newer ignore `configs.<host>.tls` as an unknown key.
    TlsIgnored, "tls-ignored", Ignored, ["Ignoring unknown key in TOML for plugin", "x509: certificate signed by unknown authority"];
    /// A `ca_file` contains no certificate.
    CaWithoutCertificate, "ca-without-certificate", Ignored, [];
    /// A host has TLS settings, but its endpoint is plain HTTP.
    TlsOnHttp, "tls-on-http", Ignored, [];
    /// `config_path` lists several folders, and the transfer service takes the list for the name of one folder.
    ConfigPathListIgnored, "config-path-list-ignored", Ignored, ["failed to resolve image"];
    /// `config_path` lists several folders, which works only while pulls do not use the transfer service.
    ConfigPathListFragile, "config-path-list-fragile", Deprecated, ["incompatible with transfer service", "Falling back to local image pull mode"];
    /// `config_path` names a folder that does not exist.
    ConfigPathMissing, "config-path-missing", Ignored, [];
    /// `config_path` is a relative path.
    ConfigPathRelative, "config-path-relative", Ignored, [];
    /// There is a `_default` directory, and this release does not read it.
    DefaultDirectoryUnsupported, "default-directory-unsupported", Ignored, [];
    /// Registry settings are in a plugin table that this release does not read.
    InactiveRegistryTable, "inactive-registry-table", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// Registry settings are under a misspelt or misplaced header.
    MisspeltTable, "misspelt-table", Ignored, ["Ignoring unknown key in TOML"];
    /// A registry is written directly in `registry`, without `mirrors`.
    MirrorOutsideMirrors, "mirror-outside-mirrors", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A mirror's key is written without quotes, so its dots create nested tables.
    MirrorKeyUnquoted, "mirror-key-unquoted", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A mirror's key does not match the registry of any image.
    MirrorKeyNeverMatches, "mirror-key-never-matches", Ignored, [];
    /// A mirror's key is a pattern, and containerd supports no pattern other than `*`.
    MirrorKeyPattern, "mirror-key-pattern", Ignored, [];
    /// `endpoint` is misspelt, so the mirror has no endpoints.
    EndpointMisspelt, "endpoint-misspelt", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A mirror has `rewrite`, which only k3s and RKE2 support.
    RewriteUnknown, "rewrite-unknown", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A key of another table is under a registry table, where it has no effect.
    MisplacedKey, "misplaced-key", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// A registry table has a key that no containerd knows.
    UnknownKey, "unknown-key", Ignored, ["Ignoring unknown key in TOML for plugin"];
    /// An endpoint has a scheme other than http and https.
    EndpointScheme, "endpoint-scheme", Ignored, ["unsupported protocol scheme"];
    /// An endpoint has user-info, a query or a fragment.
    EndpointExtras, "endpoint-extras", Ignored, [];
    /// A key of `configs` does not match any host that containerd contacts.
    ConfigsKeyNeverMatches, "configs-key-never-matches", Ignored, [];
    /// A relative import with a glob is resolved in the daemon's working directory.
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
    /// The registry settings in effect are in a file without `version`, and some newer releases do not read them
    /// there.
    NoVersionKey, "no-version-key", Deprecated, ["has been deprecated and will be converted on each startup", "Ignoring unknown key in TOML for plugin"];
    /// A wildcard sends every registry to hosts that may each serve only one.
    WildcardSingleUpstream, "wildcard-single-upstream", Advice, ["failed to resolve reference"];
    /// An endpoint is written without a scheme.
    EndpointWithoutScheme, "endpoint-without-scheme", Advice, [];
    /// The path of an endpoint has no `/v2`, which is where registries have their API.
    EndpointPathWithoutV2, "endpoint-path-without-v2", Advice, [];
    /// An endpoint ends with a single slash, which keeps containerd from adding `/v2`.
    EndpointLoneSlash, "endpoint-lone-slash", Advice, [];
    /// An endpoint is an IPv6 address, which hosts.toml cannot name on containerd 1.x.
    EndpointIpv6, "endpoint-ipv6", Advice, [];
    /// Docker Hub's own host is listed, so containerd tries it twice.
    EndpointHubTwice, "endpoint-hub-twice", Advice, [];
    /// `docker.io` is listed as an endpoint, which keeps containerd from trying Docker Hub's real host.
    EndpointHidesUpstream, "endpoint-hides-upstream", Advice, [];
    /// A file is imported more than once.
    ImportedAgain, "imported-again", Advice, [];
    /// This containerd is newer than every release that Mirrorshift was tested with.
    NewerThanKnown, "newer-than-known", Advice, [];
    /// This release loses the addresses of running pods when it is restarted.
    RestartLosesAddresses, "restart-loses-addresses", Advice, [];
    /// A hosts.toml is not valid TOML on this release.
    HostsSyntax, "hosts-syntax", Ignored, ["failed to decode hosts.toml", "failed to decode"];
    /// A hosts.toml has a value of the wrong type.
    HostsWrongType, "hosts-wrong-type", Ignored, ["failed to decode"];
    /// A hosts.toml names a capability that this release does not know.
    HostsUnknownCapability, "hosts-unknown-capability", Ignored, ["unknown capability"];
    /// A hosts.toml has a URL that containerd cannot parse.
    HostsBadUrl, "hosts-bad-url", Ignored, ["unable to parse server"];
    /// A `dial_timeout` is not a duration.
    HostsBadDuration, "hosts-bad-duration", Ignored, ["failed to decode"];
    /// A hosts.toml has no `host` table, which this release requires.
    HostsNoHostTable, "hosts-no-host-table", Ignored, ["invalid `host` tree"];
    /// containerd of this release crashes when it reads this hosts.toml.
    HostsCrash, "hosts-crash", Breaks, [];
    /// Mirrorshift cannot determine how containerd reads a hosts.toml.
    HostsEffectUnknown, "hosts-effect-unknown", Advice, [];
    /// A file that a hosts.toml needs is missing or cannot be used, so every pull from the registry fails.
    HostsUnusableFile, "hosts-unusable-file", Breaks, ["unable to read CA cert", "unable to load CA cert", "unable to read CERT file", "failed to load X509 key pair"];
    /// A host is not written as a table header, so this release ignores it.
    HostsHostNotSeen, "hosts-host-not-seen", Ignored, [];
    /// containerd tries a host twice, because one of its tables is after another host.
    HostsHostTwice, "hosts-host-twice", Advice, [];
    /// Hosts are written as inline tables, which this release tries in no fixed order.
    HostsOrderUndefined, "hosts-order-undefined", Advice, [];
    /// containerd cannot contact a host, because its URL has no host or a scheme other than http and https.
    HostsNeverContacted, "hosts-never-contacted", Ignored, ["unsupported protocol scheme"];
    /// A URL in a hosts.toml has no scheme, or containerd reads its scheme as a host.
    HostsSchemeMissing, "hosts-scheme-missing", Advice, [];
    /// A hosts.toml has a setting that this release does not know, or that has no effect in its place.
    HostsIgnoredSetting, "hosts-ignored-setting", Ignored, [];
    /// TLS settings on an http URL make this release try HTTPS first.
    HostsHttpsFirst, "hosts-https-first", Advice, [];
    /// `server` names `docker.io`, which does not serve images.
    HostsDockerIoServer, "hosts-docker-io-server", Advice, [];
    /// The name of a hosts directory does not match any registry.
    HostsDirectoryNeverMatches, "hosts-directory-never-matches", Ignored, [];
    /// After the upgrade the daemon does not start with these files.
    UpgradeRefuses, "upgrade-refuses", Refuses, [];
    /// After the upgrade the CRI plugin does not load.
    UpgradeDisablesCri, "upgrade-disables-cri", Breaks, ["`mirrors` cannot be set when `config_path` is provided"];
    /// After the upgrade the CRI plugin loads, which it does not do now.
    UpgradeEnablesCri, "upgrade-enables-cri", Advice, [];
    /// After the upgrade containerd tries other hosts for the images of a registry.
    UpgradeChangesRoute, "upgrade-changes-route", Deprecated, [];
    /// After the upgrade containerd ignores registry settings that take effect now.
    UpgradeIgnoresSetting, "upgrade-ignores-setting", Deprecated, ["Ignoring unknown key in TOML for plugin"];
    /// After the upgrade registry settings take effect that containerd ignores now.
    UpgradeActivatesSetting, "upgrade-activates-setting", Deprecated, [];
    /// After the upgrade the transfer service makes the pulls.
    UpgradeTransferService, "upgrade-transfer-service", Advice, ["failed to resolve image"];
}
