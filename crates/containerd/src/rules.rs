//! Rules: the behaviour of containerd that differs between releases. Everything else asks a rule instead of a version, so
//! that this is the only place in the workspace that compares versions.
//!
//! A rule has a description, the ranges of releases in which it holds, and its source. A range contains its first release
//! and ends before its second. A fix that was backported has a range for each line of releases.

/// Major, minor and patch number.
pub(crate) type Release = (u16, u16, u16);

const NEVER: Release = (u16::MAX, 0, 0);

/// A rule with the releases in which it holds, and the source of that knowledge.
struct RuleRow {
    rule: Rule,
    holds: &'static [(Release, Release)],
    source: &'static str,
}

macro_rules! rules {
    ($( $(#[doc = $doc:literal])+ $rule:ident, [$($range:expr),+], $source:literal; )+) => {
        /// A behaviour that containerd has in some releases only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $( $(#[doc = $doc])+ $rule, )+
        }

        impl Rule {
            /// Every rule, in the order of the table.
            pub const ALL: [Self; TABLE.len()] = [$( Self::$rule, )+];
        }

        const TABLE: &[RuleRow] = &[$( RuleRow { rule: Rule::$rule, holds: &[$($range),+], source: $source }, )+];
    };
}

rules! {
    /// TOML is parsed by go-toml v1, which accepts a byte order mark and two headers on one line, but not `]` in a
    /// quoted header.
    GoTomlOne, [(OLDEST, (2, 0, 0))], "go.mod of each line; go-toml v2 by commit b5615caf1";
    /// `version = 3` and `io.containerd.cri.v1.images` are supported.
    SchemaThree, [((2, 0, 0), NEVER)], "version/version.go";
    /// `version = 4` is supported.
    SchemaFour, [((2, 3, 0), NEVER)], "version/version.go";
    /// A `version` above the highest supported one stops the daemon.
    SchemaChecked, [((1, 6, 32), (1, 7, 0)), ((1, 7, 17), NEVER)], "commits 38607b59c, 00347b7fa";
    /// Keys of `[plugins]` in a version 2 file must have four parts, otherwise the daemon stops.
    PluginKeysChecked, [(OLDEST, (2, 0, 0))], "services/server/config/config.go, ValidateV2";
    /// Those keys must also start with `io.containerd.`.
    PluginKeyPrefixChecked, [((1, 7, 0), (2, 0, 0))], "services/server/config/config.go, ValidateV2";
    /// Plugin tables of several files are merged key by key. Older releases replace the earlier table with the later
    /// one.
    PluginTablesMerged, [((2, 0, 0), NEVER)], "commit a21e379b6";
    /// A relative import with `*` is resolved in the daemon's working directory, which the files do not show.
    GlobBelowWorkingDirectory, [(OLDEST, (1, 6, 29)), ((1, 7, 0), (1, 7, 16))], "commits 0f2068a70, 62e9535f2";
    /// The CRI tables of a version 2 file are moved to their new names once, after all files are merged.
    MovedOnceAfterMerge, [((2, 0, 0), (2, 3, 0))], "cmd/containerd/server/server.go, New";
    /// Each file is converted to the newest schema before it is merged.
    MovedFileByFile, [((2, 3, 0), NEVER)], "commit 0d7fee062";
    /// A drop-in with a higher `version` than the root file stops the daemon.
    NewerDropInRefused, [((2, 3, 0), (2, 3, 5))], "commit 21248d007, taken back by 1125b053f";
    /// `config_path` has a default of two folders even if `mirrors` is set, and CRI then does not load.
    DefaultConfigPathAlways, [((2, 2, 0), (2, 2, 2))], "commit 5386802f8";
    /// `config_path` has a default of two folders if neither it nor `mirrors` is set.
    DefaultConfigPathWithoutMirrors, [((2, 2, 2), NEVER)], "commits a20dead7c, 1d77b68f0";
    /// `configs.<host>.tls` takes effect, and is rejected together with `config_path`. Later releases ignore the key.
    TlsInConfigs, [(OLDEST, (2, 0, 0))], "commit d2b7a1e29";
    /// The names of struct fields match in any case.
    KeysFoldCase, [((2, 0, 0), NEVER)], "go-toml v2; measured on 2.0.11 and 2.3.4";
    /// The directory `_default` is read.
    DefaultDirectory, [((1, 6, 17), NEVER)], "commits 1436641b8, f0bf9e7f8";
    /// A hosts.toml without a `host` table is ignored.
    HostTableNeeded, [(OLDEST, (1, 7, 32))], "fixed by commit 24007441d; go-toml v2 was never affected";
    /// Only `[host."…"]` headers define hosts. Inline tables and dotted keys are ignored.
    HostsAreHeaders, [((2, 0, 0), NEVER)], "core/remotes/docker/config/hosts.go, getSortedHosts";
    /// Two dotted keys of one host in a hosts.toml (`host."x".a = …`, `host."x".b = …`) make the TOML library panic.
    DottedHostCrashes, [((2, 0, 0), (2, 4, 0))], "go-toml v2 before 2.4; measured on 2.1.9, 2.2.1, 2.3.4, gone in 2.4.2";
    /// The capability `referrers` is supported. Older releases ignore the whole file because of it.
    ReferrersCapability, [((2, 2, 0), NEVER)], "commit b668614b5";
    /// `dial_timeout` is supported.
    DialTimeout, [((2, 0, 7), NEVER)], "commits b50cbbc98, c4982bffc";
    /// `dial_timeout` is treated as a TLS setting, so that an http host is tried by HTTPS first.
    DialTimeoutCountsAsTls, [((2, 0, 7), (2, 1, 0))], "fixed by commit f702bf9fe";
    /// An http host with TLS settings and a port other than 80 is tried by HTTPS first.
    HttpsFirstWithPort, [((1, 6, 25), (1, 7, 0)), ((1, 7, 7), NEVER)], "commits 6b5912220, 7779ce64e";
    /// An http host with TLS settings and port 80 is tried by HTTPS first.
    HttpsFirstOnPort80, [((1, 7, 7), (1, 7, 8))], "fixed by commit 35c7634e3";
    /// An http host with TLS settings and without a port is tried by HTTPS first.
    HttpsFirstWithoutPort, [((1, 7, 7), (1, 7, 8)), ((1, 7, 24), NEVER)], "commits 49c9f303b, 02b6c6939";
    /// With `config_path` a localhost registry is contacted by HTTP, or by unverified HTTPS first. Older releases use
    /// verified HTTPS.
    LocalhostByHttp, [((1, 6, 9), NEVER)], "commits 89e49609d, 3cfde732e";
    /// The protocol of a localhost registry depends on the port: only HTTPS without one or on 443, and verified on 80.
    /// Older releases use HTTP on any port.
    LocalhostByPort, [((1, 6, 25), (1, 7, 0)), ((1, 7, 8), NEVER)], "remotes/docker/config/hosts.go, ConfigureHosts, of 1.7.7 and 1.7.8";
    /// The transfer service makes the pulls unless old settings prevent it. It does not split a list in `config_path`.
    TransferService, [((2, 1, 0), NEVER)], "commit b694be29a";
    /// The daemon lists the deprecated settings in use (such as `io.containerd.deprecation/cri-registry-mirrors`).
    DeprecationsListed, [((1, 6, 25), (1, 7, 0)), ((1, 7, 9), NEVER)], "commits 455edcad2, 8c38975bf";
    /// The recovery of CRI after a restart loses the addresses of running sandboxes.
    LosesSandboxAddresses, [((1, 6, 9), (1, 6, 14))], "containerd issue 7843";
}

impl Rule {
    /// Returns the source of the rule: a file or commit of containerd, or a measurement.
    pub fn source(self) -> &'static str {
        TABLE.iter().find(|row| row.rule == self).map_or("", |row| row.source)
    }
}

/// Returns true if `rule` holds in `release`.
pub(crate) fn holds(rule: Rule, release: Release) -> bool {
    let mut rows = TABLE.iter().filter(|row| row.rule == rule);
    rows.any(|row| row.holds.iter().any(|(from, until)| (*from..*until).contains(&release)))
}

/// The oldest release that this crate supports.
pub(crate) const OLDEST: Release = (1, 6, 0);
/// The newest line of releases that the table was tested with.
pub(crate) const NEWEST_LINE: (u16, u16) = (2, 4);

/// A range of releases that load every file in the same way.
pub(crate) struct Line {
    /// Its name as the first of a range of lines.
    pub(crate) from: &'static str,
    /// Its name as the last of a range of lines.
    pub(crate) to: &'static str,
    /// A release of the line, for queries of the model.
    pub(crate) sample: &'static str,
}

/// All lines, oldest first. Early patches of 1.6 and 1.7 load some files more leniently, but belong to the same line.
#[rustfmt::skip]
pub(crate) const LINES: &[Line] = &[
    Line { from: "1.6", to: "1.6", sample: "1.6.36" },
    Line { from: "1.7", to: "1.7", sample: "1.7.24" },
    Line { from: "2.0", to: "2.0", sample: "2.0.11" },
    Line { from: "2.1", to: "2.1", sample: "2.1.9" },
    Line { from: "2.2.0", to: "2.2.1", sample: "2.2.1" },
    Line { from: "2.2.2", to: "2.2", sample: "2.2.7" },
    Line { from: "2.3.0", to: "2.3.4", sample: "2.3.4" },
    Line { from: "2.3.5", to: "2.3", sample: "2.3.6" },
    Line { from: "2.4", to: "2.4", sample: "2.4.2" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_a_source_and_ordered_ranges() {
        for row in TABLE {
            assert!(!row.source.is_empty(), "{:?}", row.rule);
            assert!(row.holds.iter().all(|(from, until)| from < until), "{:?}", row.rule);
            assert!(
                row.holds.windows(2).all(|pair| pair[0].1 <= pair[1].0),
                "{:?}",
                row.rule
            );
        }
    }

    #[test]
    fn lines_are_in_order_and_end_with_the_newest() {
        let release = |line: &Line| {
            let parts: Vec<u16> = line.sample.split('.').map(|part| part.parse().unwrap()).collect();
            (parts[0], parts[1], parts[2])
        };
        let samples: Vec<Release> = LINES.iter().map(release).collect();
        assert!(samples.is_sorted());
        let last = samples.last().unwrap();
        assert_eq!((last.0, last.1), NEWEST_LINE);
        assert!(samples.iter().all(|sample| *sample >= OLDEST));
        // A change of what is loaded, between two samples, must be the start of a line.
        let starts = |(from, _): &(Release, Release)| *from;
        let loading = [
            Rule::SchemaThree,
            Rule::PluginTablesMerged,
            Rule::MovedOnceAfterMerge,
            Rule::MovedFileByFile,
            Rule::NewerDropInRefused,
            Rule::DefaultConfigPathAlways,
            Rule::DefaultConfigPathWithoutMirrors,
        ];
        for row in TABLE.iter().filter(|row| loading.contains(&row.rule)) {
            for start in row.holds.iter().map(starts).filter(|start| *start > OLDEST) {
                let named = format!("{}.{}", start.0, start.1);
                let exact = format!("{named}.{}", start.2);
                let known = LINES
                    .iter()
                    .any(|line| line.from == exact || start.2 == 0 && line.from == named);
                assert!(known, "{:?} starts at {exact}", row.rule);
            }
        }
    }

    #[test]
    fn backported_rules_hold_in_their_line_only() {
        assert!(holds(Rule::DefaultDirectory, (1, 6, 17)) && !holds(Rule::DefaultDirectory, (1, 6, 16)));
        assert!(holds(Rule::SchemaChecked, (1, 6, 36)) && !holds(Rule::SchemaChecked, (1, 7, 16)));
        assert!(holds(Rule::HttpsFirstWithPort, (1, 6, 36)) && !holds(Rule::HttpsFirstWithPort, (1, 7, 6)));
        assert!(!holds(Rule::DefaultConfigPathAlways, (2, 2, 2)));
    }
}
