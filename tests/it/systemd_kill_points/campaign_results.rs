//! The results of a campaign, in a file so that it can continue after an interruption.

use super::{KINDS, Point};
use mirrorshift_tests::node_tests::NodeTestContext;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

/// The results, in a file for a campaign: version, kind, call, number, outcome.
pub(crate) struct CampaignResults {
    file: Option<String>,
    pub(crate) lines: Vec<String>,
}

impl CampaignResults {
    pub(crate) fn of(context: &NodeTestContext) -> (Self, bool) {
        let file = std::env::var("MIRRORSHIFT_CAMPAIGN").ok();
        let text = file
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        let version = format!("{}\t", context.containerd.version);
        // The last result of each point is used.
        let of_point = |line: &str| line.rsplit_once('\t').map(|(point, _)| point.to_owned());
        let lines: BTreeMap<_, _> = text
            .lines()
            .filter(|line| line.starts_with(&version))
            .map(|line| (of_point(line), line.to_owned()))
            .collect();
        let lines = lines.into_values().collect();
        let is_campaign = file.is_some();
        (Self { file, lines }, is_campaign)
    }

    pub(crate) fn has(&self, point: &Point) -> bool {
        let wanted = format!("\t{point}\t");
        self.lines
            .iter()
            .any(|line| line.contains(&wanted) && !line.ends_with("broken"))
    }

    pub(crate) fn note(&mut self, version: &str, point: &Point, outcome: &str) {
        let line = format!("{version}\t{point}\t{outcome}");
        if let Some(path) = &self.file {
            let file = OpenOptions::new().append(true).create(true).open(path);
            if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
                eprintln!("cannot write {path}: {error}");
            }
        }
        // A point that was broken before and is tested again loses its old result.
        let of_point = format!("{version}\t{point}\t");
        self.lines.retain(|line| !line.starts_with(&of_point));
        self.lines.push(line);
    }

    pub(crate) fn table(&self, version: &str) {
        for kind in KINDS {
            let of_kind: Vec<&String> = self
                .lines
                .iter()
                .filter(|line| line.contains(&format!("\t{kind:?}\t")))
                .collect();
            let count = |outcome: &str| of_kind.iter().filter(|line| line.ends_with(outcome)).count();
            println!(
                "containerd {version}: {:<10} {:>4} points, {:>4} old, {:>4} new, {:>4} by the next run, {:>4} missed, {:>4} broken",
                format!("{kind:?}"),
                of_kind.len(),
                count("\told"),
                count("\tnew"),
                count("\tagain"),
                count("\tmissed"),
                count("\tbroken")
            );
        }
    }
}
