//! What differs from one containerd release to another: one table, each row with its releases and its source.
//!
//! This is the only place in the workspace that compares versions. A row holds from `from` up to, not including, `until`;
//! a fix that was carried back has a range for each line of releases.

use crate::version::Release;

/// Something that containerd does in some releases and not in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// TOML is read by go-toml v1: a BOM and two headers on one line pass, `]` in a quoted header does not.
    GoTomlOne,
    /// `version = 3` and `io.containerd.cri.v1.images` are known.
    SchemaThree,
    /// `version = 4` is known.
    SchemaFour,
    /// A `version` above the highest known one stops the daemon.
    SchemaChecked,
    /// Keys of `[plugins]` in a version 2 file must have four dot-separated parts, or the daemon stops.
    PluginKeysChecked,
    /// Those keys must start with `io.containerd.` too.
    PluginKeyPrefixChecked,
    /// Plugin tables of several files are merged key by key; before, the later file's table replaced the earlier one's.
    PluginTablesMerged,
    /// A relative import with `*` is looked up below the daemon's working directory, which nobody can tell from files.
    GlobBelowWorkingDirectory,
    /// The CRI tables of a version 2 file are moved to their new names once, after all files were merged.
    MovedOnceAfterMerge,
    /// Every file is brought to the newest schema by itself before it is merged.
    MovedFileByFile,
    /// A drop-in of a higher `version` than the root file stops the daemon.
    NewerDropInRefused,
    /// `config_path` defaults to two folders even beside mirrors, which then cannot load.
    DefaultConfigPathAlways,
    /// `config_path` defaults to two folders where neither it nor mirrors are set.
    DefaultConfigPathWithoutMirrors,
    /// `configs.<host>.tls` is honoured, and refused beside `config_path`; later it is an unknown key.
    TlsInConfigs,
    /// Struct fields are matched whatever their case.
    KeysFoldCase,
    /// `_default` is looked up.
    DefaultDirectory,
    /// A hosts.toml without any `host` table is thrown away.
    HostTableNeeded,
    /// Only `[host."…"]` headers make hosts; inline tables and dotted keys are dropped.
    HostsAreHeaders,
    /// Two dotted keys of one host in a hosts.toml (`host."x".a = …`, `host."x".b = …`) make the TOML library panic.
    DottedHostCrashes,
    /// The capability `referrers` is known; before, it made the whole file invalid.
    ReferrersCapability,
    /// `dial_timeout` is known.
    DialTimeout,
    /// `dial_timeout` counts as a TLS setting, so that an http host is tried by HTTPS first.
    DialTimeoutCountsAsTls,
    /// An http host with TLS settings and a port other than 80 is tried by HTTPS first.
    HttpsFirstWithPort,
    /// The same on port 80 too.
    HttpsFirstOnPort80,
    /// The same without a port.
    HttpsFirstWithoutPort,
    /// A localhost image under `config_path` is asked for by http (or HTTPS unverified first); before, by verified HTTPS.
    LocalhostByHttp,
    /// That choice depends on the port: HTTPS only without one or on 443, verified as usual on 80; before, http on any.
    LocalhostByPort,
    /// Pulls go through the transfer service unless old settings prevent it; it does not split a list in `config_path`.
    TransferService,
    /// Deprecations in use are listed by the daemon (`io.containerd.deprecation/cri-registry-mirrors` and its kin).
    DeprecationsListed,
    /// CRI recovery loses the addresses of running sandboxes at a restart.
    LosesSandboxAddresses,
}

/// The first release that this crate answers for.
pub(crate) const OLDEST: Release = (1, 6, 0);
/// The newest line of releases that the table was checked against.
pub(crate) const NEWEST_LINE: (u16, u16) = (2, 4);

/// A stretch of releases that load every file alike.
pub(crate) struct Line {
    /// Its name as the first of a row of lines.
    pub(crate) from: &'static str,
    /// Its name as the last of a row of lines.
    pub(crate) to: &'static str,
    /// A release of it, to ask the model with.
    pub(crate) sample: &'static str,
}

/// Every line, oldest first. Early patches of 1.6 and 1.7, which load some files more leniently, count with the later ones.
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

const NEVER: Release = (u16::MAX, 0, 0);

/// A row: the rule, the releases it holds in, and where that is known from.
struct Row {
    rule: Rule,
    holds: &'static [(Release, Release)],
    source: &'static str,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { rule: Rule::GoTomlOne, holds: &[(OLDEST, (2, 0, 0))], source: "go.mod of each line; go-toml v2 by commit b5615caf1" },
    Row { rule: Rule::SchemaThree, holds: &[((2, 0, 0), NEVER)], source: "version/version.go" },
    Row { rule: Rule::SchemaFour, holds: &[((2, 3, 0), NEVER)], source: "version/version.go" },
    Row { rule: Rule::SchemaChecked, holds: &[((1, 6, 32), (1, 7, 0)), ((1, 7, 17), NEVER)], source: "commits 38607b59c, 00347b7fa" },
    Row { rule: Rule::PluginKeysChecked, holds: &[(OLDEST, (2, 0, 0))], source: "services/server/config/config.go, ValidateV2" },
    Row { rule: Rule::PluginKeyPrefixChecked, holds: &[((1, 7, 0), (2, 0, 0))], source: "services/server/config/config.go, ValidateV2" },
    Row { rule: Rule::PluginTablesMerged, holds: &[((2, 0, 0), NEVER)], source: "commit a21e379b6" },
    Row { rule: Rule::GlobBelowWorkingDirectory, holds: &[(OLDEST, (1, 6, 29)), ((1, 7, 0), (1, 7, 16))], source: "commits 0f2068a70, 62e9535f2" },
    Row { rule: Rule::MovedOnceAfterMerge, holds: &[((2, 0, 0), (2, 3, 0))], source: "cmd/containerd/server/server.go, New" },
    Row { rule: Rule::MovedFileByFile, holds: &[((2, 3, 0), NEVER)], source: "commit 0d7fee062" },
    Row { rule: Rule::NewerDropInRefused, holds: &[((2, 3, 0), (2, 3, 5))], source: "commit 21248d007, taken back by 1125b053f" },
    Row { rule: Rule::DefaultConfigPathAlways, holds: &[((2, 2, 0), (2, 2, 2))], source: "commit 5386802f8" },
    Row { rule: Rule::DefaultConfigPathWithoutMirrors, holds: &[((2, 2, 2), NEVER)], source: "commits a20dead7c, 1d77b68f0" },
    Row { rule: Rule::TlsInConfigs, holds: &[(OLDEST, (2, 0, 0))], source: "commit d2b7a1e29" },
    Row { rule: Rule::KeysFoldCase, holds: &[((2, 0, 0), NEVER)], source: "go-toml v2; measured on 2.0.11 and 2.3.4" },
    Row { rule: Rule::DefaultDirectory, holds: &[((1, 6, 17), NEVER)], source: "commits 1436641b8, f0bf9e7f8" },
    Row { rule: Rule::HostTableNeeded, holds: &[(OLDEST, (1, 7, 32))], source: "fixed by commit 24007441d; go-toml v2 was never affected" },
    Row { rule: Rule::HostsAreHeaders, holds: &[((2, 0, 0), NEVER)], source: "core/remotes/docker/config/hosts.go, getSortedHosts" },
    Row { rule: Rule::DottedHostCrashes, holds: &[((2, 0, 0), (2, 4, 0))], source: "go-toml v2 before 2.4; measured on 2.1.9, 2.2.1, 2.3.4, gone in 2.4.2" },
    Row { rule: Rule::ReferrersCapability, holds: &[((2, 2, 0), NEVER)], source: "commit b668614b5" },
    Row { rule: Rule::DialTimeout, holds: &[((2, 0, 7), NEVER)], source: "commits b50cbbc98, c4982bffc" },
    Row { rule: Rule::DialTimeoutCountsAsTls, holds: &[((2, 0, 7), (2, 1, 0))], source: "fixed by commit f702bf9fe" },
    Row { rule: Rule::HttpsFirstWithPort, holds: &[((1, 6, 25), (1, 7, 0)), ((1, 7, 7), NEVER)], source: "commits 6b5912220, 7779ce64e" },
    Row { rule: Rule::HttpsFirstOnPort80, holds: &[((1, 7, 7), (1, 7, 8))], source: "fixed by commit 35c7634e3" },
    Row { rule: Rule::HttpsFirstWithoutPort, holds: &[((1, 7, 7), (1, 7, 8)), ((1, 7, 24), NEVER)], source: "commits 49c9f303b, 02b6c6939" },
    Row { rule: Rule::LocalhostByHttp, holds: &[((1, 6, 9), NEVER)], source: "commits 89e49609d, 3cfde732e" },
    Row { rule: Rule::LocalhostByPort, holds: &[((1, 6, 25), (1, 7, 0)), ((1, 7, 8), NEVER)], source: "remotes/docker/config/hosts.go, ConfigureHosts, of 1.7.7 and 1.7.8" },
    Row { rule: Rule::TransferService, holds: &[((2, 1, 0), NEVER)], source: "commit b694be29a" },
    Row { rule: Rule::DeprecationsListed, holds: &[((1, 6, 25), (1, 7, 0)), ((1, 7, 9), NEVER)], source: "commits 455edcad2, 8c38975bf" },
    Row { rule: Rule::LosesSandboxAddresses, holds: &[((1, 6, 9), (1, 6, 14))], source: "containerd issue 7843" },
];

/// Whether `rule` holds in `release`.
pub(crate) fn holds(rule: Rule, release: Release) -> bool {
    let mut rows = TABLE.iter().filter(|row| row.rule == rule);
    rows.any(|row| row.holds.iter().any(|(from, until)| (*from..*until).contains(&release)))
}

impl Rule {
    /// Where containerd's behaviour is known from: a file or commit of containerd, or a measurement.
    pub fn source(self) -> &'static str {
        TABLE.iter().find(|row| row.rule == self).map_or("", |row| row.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_one_row_with_a_source_and_ordered_ranges() {
        let mut rules: Vec<Rule> = TABLE.iter().map(|row| row.rule).collect();
        rules.sort();
        let rows = rules.len();
        rules.dedup();
        assert_eq!(rows, rules.len());
        // The last variant closes the enum, so its number counts the variants.
        assert_eq!(rows, Rule::LosesSandboxAddresses as usize + 1);
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
    fn fixes_carried_back_hold_in_their_line_only() {
        assert!(holds(Rule::DefaultDirectory, (1, 6, 17)) && !holds(Rule::DefaultDirectory, (1, 6, 16)));
        assert!(holds(Rule::SchemaChecked, (1, 6, 36)) && !holds(Rule::SchemaChecked, (1, 7, 16)));
        assert!(holds(Rule::HttpsFirstWithPort, (1, 6, 36)) && !holds(Rule::HttpsFirstWithPort, (1, 7, 6)));
        assert!(!holds(Rule::DefaultConfigPathAlways, (2, 2, 2)));
    }
}
