//! Test cases: files that raise a finding on one release, and a release or other files that do not raise it.

use crate::findings::catalogue::FindingId as Id;

/// A positive and a negative case of a finding. `§` stands for `plugins."io.containerd.grpc.v1.cri".registry`.
pub(super) struct Case {
    pub(super) id: Id,
    /// The release that raises it.
    pub(super) on: &'static str,
    /// The files that raise it, as path and text. A path that ends with `/` is an empty folder.
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) off: NegativeCase,
}

/// A case that does not raise the finding.
pub(super) enum NegativeCase {
    /// The files of the positive case, on this release.
    Version(&'static str),
    /// These files, on the release of the positive case.
    Files(&'static [(&'static str, &'static str)]),
    /// More than 1,000 files in this folder raise the finding; an empty folder does not.
    Root(&'static str),
}

const C: &str = "/etc/containerd/config.toml";
const D: &str = "/etc/containerd/conf.d/10.toml";
const PLAIN: &[(&str, &str)] = &[(
    C,
    "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m.example.net\"]\n",
)];

macro_rules! case {
    ($id:ident, $on:literal, $text:literal, off $version:literal) => {
        Case { id: Id::$id, on: $on, files: &[(C, $text)], off: NegativeCase::Version($version) }
    };
    ($id:ident, $on:literal, $text:literal, $other:literal) => {
        Case { id: Id::$id, on: $on, files: &[(C, $text)], off: NegativeCase::Files(&[(C, $other)]) }
    };
    ($id:ident, $on:literal, $text:literal) => {
        Case { id: Id::$id, on: $on, files: &[(C, $text)], off: NegativeCase::Files(PLAIN) }
    };
    ($id:ident, $on:literal, [$($file:expr),+], off $version:literal) => {
        Case { id: Id::$id, on: $on, files: &[$($file),+], off: NegativeCase::Version($version) }
    };
    ($id:ident, $on:literal, [$($file:expr),+], [$($other:expr),+]) => {
        Case { id: Id::$id, on: $on, files: &[$($file),+], off: NegativeCase::Files(&[$($other),+]) }
    };
}

/// A mirror with this endpoint.
macro_rules! endpoint {
    ($id:ident, $on:literal, $registry:literal, $bad:literal, $good:literal) => {
        case!(
            $id,
            $on,
            [(
                C,
                concat!(
                    "version = 2\n[§.mirrors.\"",
                    $registry,
                    "\"]\nendpoint = [\"",
                    $bad,
                    "\"]\n"
                )
            )],
            [(
                C,
                concat!(
                    "version = 2\n[§.mirrors.\"",
                    $registry,
                    "\"]\nendpoint = [\"",
                    $good,
                    "\"]\n"
                )
            )]
        )
    };
}

const CERTS: &str = "version = 2\n[§]\nconfig_path = \"/c\"\n";

/// A hosts.toml of this text, against another release or a good hosts.toml.
macro_rules! hosts {
    ($id:ident, $on:literal, $text:literal, off $version:literal) => {
        case!($id, $on, [(C, CERTS), ("/c/ghcr.io/hosts.toml", $text)], off $version)
    };
    ($id:ident, $on:literal, $text:literal) => {
        case!(
            $id,
            $on,
            [(C, CERTS), ("/c/ghcr.io/hosts.toml", $text)],
            [(C, CERTS), ("/c/ghcr.io/hosts.toml", "[host.\"https://m\"]\ncapabilities = [\"pull\"]\n")]
        )
    };
}

#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    case!(TomlSyntax, "1.7.24", "version = \n"),
    case!(TomlDialect, "2.1.9", "[plugins.cri][plugins.cri.registry]\n"),
    case!(TomlDialect, "1.7.24", "version = 2\n[§.mirrors.\"[::1]:5000\"]\n", off "2.1.9"),
    case!(ByteOrderMark, "1.7.24", "\u{feff}version = 2\n", "version = 2\n"),
    case!(ByteOrderMark, "2.1.9", "\u{feff}version = 2\n", "version = 2\n"),
    Case { id: Id::FileUnreadable, on: "1.7.24", files: &[("/etc/containerd/config.toml/", "")], off: NegativeCase::Files(PLAIN) },
    case!(MissingImport, "2.1.9", "imports = [\"gone.toml\"]\n", "imports = [\"gone*.toml\"]\n"),
    case!(WrongType, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = \"https://m\"\n"),
    case!(UnknownSchema, "1.7.24", "version = 3\n", off "2.1.9"),
    case!(NewerDropIn, "2.3.4", [(C, "version = 2\nimports = [\"conf.d/10.toml\"]\n"), (D, "version = 3\n")], off "2.3.6"),
    case!(PluginKey, "1.7.24", "version = 2\n[plugins.cri]\n", off "2.1.9"),
    Case { id: Id::TooManyFiles, on: "1.7.24", files: &[(C, "imports = [\"/many/*.toml\"]\n")], off: NegativeCase::Root("/many") },
    case!(BothSet, "1.7.24", "version = 2\n[§]\nconfig_path = \"/x\"\n[§.mirrors.\"ghcr.io\"]\n"),
    case!(BothByDefault, "2.2.1", "version = 2\n[§.mirrors.\"ghcr.io\"]\n", off "2.2.2"),
    case!(BothByDefault, "2.2.1", "version = 2\n[§]\nconfig_path = \"\"\n[§.mirrors.\"ghcr.io\"]\n", off "2.2.2"),
    case!(TlsWithConfigPath, "1.7.24", "version = 2\n[§]\nconfig_path = \"/x\"\n[§.configs.\"h\".tls]\n", off "2.1.9"),
    case!(AuthsKeyInvalidUrl, "1.7.24", "version = 2\n[§.auths.\"10.0.0.5:5000\"]\n", "version = 2\n[§.auths.\"https://reg.test:5000\"]\n"),
    endpoint!(EndpointInvalidUrl, "2.1.9", "ghcr.io", "https://a b", "https://a"),
    case!(TlsFileUnreadable, "1.7.24", "version = 2\n[§.configs.\"h\".tls]\nca_file = \"/gone\"\n", off "2.1.9"),
    case!(TlsPairUnusable, "1.7.24", [(C, "version = 2\n[§.configs.\"h\".tls]\ncert_file = \"/c\"\n"), ("/c", "x")], off "2.1.9"),
    case!(TlsIgnored, "2.1.9", "version = 2\n[§.configs.\"h\".tls]\nca_file = \"/gone\"\n", off "1.7.24"),
    case!(CaWithoutCertificate, "1.7.24", [(C, "version = 2\n[§.configs.\"h\".tls]\nca_file = \"/ca\"\n"), ("/ca", "x")], off "2.1.9"),
    case!(TlsOnHttp, "1.7.24",
        "version = 2\n[§.mirrors.\"a.io\"]\nendpoint = [\"http://h\"]\n[§.configs.\"h\".tls]\ninsecure_skip_verify = true\n",
        "version = 2\n[§.mirrors.\"a.io\"]\nendpoint = [\"https://h\"]\n[§.configs.\"h\".tls]\ninsecure_skip_verify = true\n"),
    case!(ConfigPathListIgnored, "2.1.9", "version = 2\n[§]\nconfig_path = \"/a:/b\"\n", off "2.0.5"),
    case!(ConfigPathListIgnored, "2.3.4", [(C, "version = 3\n"), ("/etc/containerd/certs.d/ghcr.io/", "")], off "2.1.9"),
    case!(ConfigPathListFragile, "1.7.24", "version = 2\n[§]\nconfig_path = \"/a:/b\"\n", off "2.1.9"),
    case!(ConfigPathListFragile, "2.1.9", "version = 2\n[§]\nconfig_path = \"/a:/b\"\n[§.configs.\"h\".auth]\n", "version = 2\n[§]\nconfig_path = \"/a\"\n"),
    case!(ConfigPathMissing, "1.7.24", [(C, "version = 2\n[§]\nconfig_path = \"/a\"\n")], [(C, "version = 2\n[§]\nconfig_path = \"/a\"\n"), ("/a/", "")]),
    case!(ConfigPathRelative, "2.1.9", "version = 2\n[§]\nconfig_path = \"certs.d\"\n"),
    case!(DefaultDirectoryUnsupported, "1.6.16", [(C, "version = 2\n[§]\nconfig_path = \"/a\"\n"), ("/a/_default/", "")], off "1.6.17"),
    case!(InactiveRegistryTable, "2.1.9", "[plugins.cri.registry.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n", off "2.3.4"),
    case!(InactiveRegistryTable, "2.1.9", "version = 3\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n", off "2.4.2"),
    case!(MisspeltTable, "2.1.9", "version = 2\n[plugin.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n"),
    case!(MisspeltTable, "1.7.24", "version = 2\n[Plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n", off "2.1.9"),
    case!(MisspeltTable, "2.1.9", "version = 3\n[plugins.\"io.containerd.cri.v1\".registry]\nconfig_path = \"/a\"\n"),
    case!(MisspeltTable, "2.1.9", "version = 2\n[plugins.io.containerd.grpc.v1.cri.registry]\nconfig_path = \"/a\"\n",
        "version = 2\n[plugins.\"io.containerd.snapshotter.v1.stargz\".registry.mirrors.\"a.io\"]\nendpoint = [\"https://m\"]\n"),
    case!(MisspeltTable, "2.1.9", "[registry.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n", "[registry]\nconfig_path = \"/a\"\n"),
    case!(MirrorOutsideMirrors, "1.7.24", "version = 2\n[§.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n"),
    case!(MirrorKeyUnquoted, "1.7.24", "version = 2\n[§.mirrors.docker.io]\nendpoint = [\"https://m\"]\n"),
    case!(MirrorKeyUnquoted, "2.1.9", "version = 2\n[§.mirrors.registry.k8s.io]\nendpoint = [\"https://m\"]\n"),
    case!(MirrorKeyNeverMatches, "1.7.24", "version = 2\n[§.mirrors.\"https://ghcr.io\"]\n"),
    case!(MirrorKeyNeverMatches, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io/org\"]\n"),
    case!(MirrorKeyNeverMatches, "1.7.24", "version = 2\n[§.mirrors.\"index.docker.io\"]\n"),
    case!(MirrorKeyNeverMatches, "1.7.24", "version = 2\n[§.mirrors.\"registry-1.docker.io\"]\n"),
    case!(MirrorKeyNeverMatches, "1.7.24", "version = 2\n[§.mirrors.\"Docker.io\"]\n", "version = 2\n[§.mirrors.\"docker.io\"]\n"),
    case!(MirrorKeyNeverMatches, "2.1.9", "version = 2\n[§.mirrors.\"a b\"]\n"),
    case!(MirrorKeyNeverMatches, "2.1.9", "version = 2\n[§.mirrors.rpi]\n", "version = 2\n[§.mirrors.\"rpi:5000\"]\n[§.mirrors.localhost]\n"),
    case!(MirrorKeyPattern, "2.1.9", "version = 2\n[§.mirrors.\"*.example.com\"]\n", "version = 2\n[§.mirrors.\"*\"]\n"),
    case!(UnknownSchema, "2.4.2", "version = 9\n", "version = 3\n"),
    case!(InactiveRegistryTable, "1.7.24", "[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n"),
    case!(InactiveRegistryTable, "2.3.4", "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/a\"\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n"),
    case!(MirrorKeyUnquoted, "2.1.9", "version = 2\n[§.mirrors.docker.io]\nendpoints = [\"https://m\"]\n"),
    case!(EndpointMisspelt, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoints = [\"https://m\"]\n"),
    case!(EndpointMisspelt, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nEndpoint = [\"https://m\"]\n", off "2.1.9"),
    case!(RewriteUnknown, "2.1.9", "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n[§.mirrors.\"ghcr.io\".rewrite]\n\"^(.*)$\" = \"x/$1\"\n"),
    case!(MisplacedKey, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\nsandbox_image = \"p\"\n"),
    case!(UnknownKey, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nplain-http = true\n"),
    case!(UnknownKey, "2.1.9", "version = 2\n[§.configs.\"h\"]\nusername = \"u\"\n"),
    case!(UnknownKey, "1.7.24", "version = 2\n[§.configs.\"h\".tls]\nskip_verify = true\n", off "2.1.9"),
    endpoint!(EndpointScheme, "1.7.24", "ghcr.io", "ftp://m", "HTTP://m"),
    endpoint!(EndpointExtras, "1.7.24", "ghcr.io", "https://u:hunter2@m?x=hunter2#y", "https://m"),
    case!(ConfigsKeyNeverMatches, "1.7.24", "version = 2\n[§.configs.\"*\".auth]\n", "version = 2\n[§.configs.\"h:5000\".auth]\n"),
    case!(ConfigsKeyNeverMatches, "2.1.9", "version = 2\n[§.configs.\"https://h\".auth]\n", "version = 2\n[§.auths.\"https://h\"]\n"),
    case!(ConfigsKeyNeverMatches, "2.1.9", "version = 2\n[§.configs.\"docker.io\".auth]\n",
        "version = 2\n[§.configs.\"docker.io\".auth]\n[§.mirrors.\"docker.io\"]\nendpoint = [\"https://docker.io\"]\n"),
    case!(RelativeImportGlob, "1.7.15", "imports = [\"conf.d/*.toml\"]\n", off "1.7.16"),
    case!(DropInReplacesTable, "1.7.24", [
        (C, "version = 2\nimports = [\"conf.d/10.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"p\"\n"),
        (D, "version = 2\n[§]\nconfig_path = \"/a\"\n")], off "2.1.9"),
    case!(DropInHidesTable, "2.1.9", [
        (C, "version = 2\nimports = [\"conf.d/10.toml\"]\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n"),
        (D, "version = 3\n")], off "2.4.2"),
    case!(MirrorsDeprecated, "2.4.2", "version = 2\n[§.mirrors.\"ghcr.io\"]\n", "version = 2\n[§.mirrors]\n"),
    case!(ConfigsDeprecated, "1.6.20", "version = 2\n[§.configs.\"h\".auth]\n", "version = 2\n[§.configs]\n"),
    case!(AuthsDeprecated, "1.7.24", "version = 2\n[§.auths.\"https://h\"]\n", "version = 2\n[§.auths]\n"),
    case!(NoVersionKey, "1.7.24", "[plugins.cri.registry.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n", off "2.3.4"),
    case!(WildcardSingleUpstream, "2.1.9", "version = 2\n[§.mirrors.\"*\"]\nendpoint = [\"http://10.0.0.1:5000\"]\n"),
    endpoint!(EndpointWithoutScheme, "1.7.24", "ghcr.io", "10.0.0.1:5000", "http://10.0.0.1:5000"),
    endpoint!(EndpointPathWithoutV2, "1.7.24", "ghcr.io", "https://h/project", "https://h/v2/project"),
    endpoint!(EndpointLoneSlash, "2.1.9", "ghcr.io", "https://h/", "https://h/v2/"),
    case!(EndpointIpv6, "1.7.24", "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"http://[::1]:5000\"]\n", off "2.1.9"),
    endpoint!(EndpointHubTwice, "1.7.24", "docker.io", "https://registry-1.docker.io", "https://m"),
    endpoint!(EndpointHidesUpstream, "1.7.24", "docker.io", "https://docker.io", "https://m"),
    case!(ImportedAgain, "2.1.9", "imports = [\"config.toml\"]\n"),
    case!(NewerThanKnown, "2.9.0", "version = 2\n", off "2.4.2"),
    case!(RestartLosesAddresses, "1.6.9", "version = 2\n", off "1.6.14"),
    hosts!(HostsSyntax, "1.7.24", "a = 1\n[host.x\n"),
    hosts!(HostsWrongType, "2.2.1", "[host.\"https://m\"]\nca = 5\n"),
    hosts!(HostsUnknownCapability, "2.1.9", "[host.\"https://m\"]\ncapabilities = [\"referrers\"]\n", off "2.2.0"),
    hosts!(HostsBadUrl, "2.2.1", "[host.\"https://u:hunter2@m:x\"]\n"),
    hosts!(HostsBadDuration, "2.1.9", "[host.\"https://m\"]\ndial_timeout = \"5\"\n", off "2.0.6"),
    hosts!(HostsNoHostTable, "1.7.24", "server = \"https://s\"\n", off "2.1.9"),
    hosts!(HostsCrash, "1.7.24", "[host]\na = 1\nb = 2\n", off "2.2.1"),
    hosts!(HostsCrash, "2.1.9", "host.\"https://m\".ca = \"a\"\nhost.\"https://m\".skip_verify = true\n", off "2.4.2"),
    hosts!(HostsEffectUnknown, "1.7.24", "[host] [host.\"https://m\"]\n", off "2.2.1"),
    hosts!(HostsUnusableFile, "2.4.2", "[host.\"https://m\"]\nca = \"none\"\n"),
    hosts!(HostsHostNotSeen, "2.2.1", "[host]\n\"https://m\" = {}\n", off "1.7.24"),
    hosts!(HostsHostTwice, "2.2.1", "[host.\"https://m\"]\n[host.\"https://n\"]\n[host.\"https://m\".header]\n", off "1.7.24"),
    hosts!(HostsOrderUndefined, "1.7.24", "[host]\n\"https://m\" = {}\n\"https://n\" = {}\n[host.\"https://o\"]\n", off "2.2.1"),
    hosts!(HostsNeverContacted, "2.4.2", "[host.\"httpbin:5000\"]\n"),
    hosts!(HostsSchemeMissing, "2.4.2", "server = \"mirror:5000\"\n[host]\n"),
    hosts!(HostsIgnoredSetting, "2.4.2", "[host.\"https://m\"]\nskip-verify = true\n"),
    hosts!(HostsIgnoredSetting, "1.7.24", "[host.\"https://m\"]\ndial_timeout = \"5s\"\n", off "2.1.9"),
    hosts!(HostsHttpsFirst, "1.7.24", "[host.\"http://m:5000\"]\nskip_verify = true\n", off "1.7.6"),
    hosts!(HostsDockerIoServer, "2.4.2", "server = \"https://docker.io\"\n[host]\n"),
    case!(HostsDirectoryNeverMatches, "2.1.9", [(C, CERTS), ("/c/localhost__32000/", "")], [(C, CERTS), ("/c/localhost:32000/", ""), ("/c/_backup/", "")]),
    case!(HostsDirectoryNeverMatches, "2.1.9", [(C, CERTS), ("/c/index.docker.io/", "")], [(C, CERTS), ("/c/docker.io/", "")]),
    case!(HostsUnusableFile, "2.1.9", [(C, CERTS), ("/c/_default/hosts.toml", "ca = \"none\"\n[host]\n")], [(C, CERTS), ("/c/_default/hosts.toml", "[host]\n")]),
];

/// An upgrade: the releases before and after, the files, and two releases between which the finding is not raised.
pub(super) struct Upgrade {
    pub(super) id: Id,
    pub(super) on: (&'static str, &'static str),
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) off: (&'static str, &'static str),
}

const MIRROR: &str = "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n";
const TLS: &str = "version = 2\n[§.mirrors.\"ghcr.io\"]\nendpoint = [\"https://m\"]\n[§.configs.m.tls]\ninsecure_skip_verify = true\n";
const STALE: &str = "version = 3\n[§.headers]\nX-A = [\"hunter2\"]\n";

#[rustfmt::skip]
pub(super) const UPGRADES: &[Upgrade] = &[
    Upgrade { id: Id::UpgradeRefuses, on: ("1.7.24", "2.1.9"), files: &[(C, "\u{feff}version = 2\n")], off: ("1.6.20", "1.7.24") },
    Upgrade { id: Id::UpgradeDisablesCri, on: ("2.1.9", "2.2.0"), files: &[(C, MIRROR)], off: ("2.1.9", "2.2.2") },
    Upgrade { id: Id::UpgradeEnablesCri, on: ("2.2.1", "2.2.2"), files: &[(C, MIRROR)], off: ("2.1.9", "2.2.2") },
    Upgrade { id: Id::UpgradeChangesRoute, on: ("1.7.24", "2.1.9"), files: &[(C, TLS)], off: ("1.6.20", "1.7.24") },
    Upgrade { id: Id::UpgradeIgnoresSetting, on: ("1.7.24", "2.1.9"), files: &[(C, TLS)], off: ("1.6.20", "1.7.24") },
    Upgrade { id: Id::UpgradeIgnoresSetting, on: ("1.7.24", "2.2.0"), files: &[(C, "[plugins.cri.registry.mirrors.\"a.io\"]\n")], off: ("1.7.24", "2.3.4") },
    Upgrade { id: Id::UpgradeActivatesSetting, on: ("2.2.2", "2.3.4"), files: &[(C, STALE)], off: ("2.1.9", "2.2.2") },
    Upgrade { id: Id::UpgradeTransferService, on: ("1.7.24", "2.1.9"), files: &[(C, "version = 2\n")], off: ("1.7.24", "2.0.5") },
];
