//! Prints the measurements as tables.

use std::collections::BTreeMap;
use std::time::Duration;

/// The limit for the time without CRI, as a multiple of a plain restart.
const BUDGET: f64 = 1.1;

/// The measurements on a node with a number of sandboxes.
#[derive(Default)]
pub(super) struct Figures {
    /// The version, such as `1.7.24`.
    pub(super) version: String,
    pub(super) sandboxes: usize,
    pub(super) bare: Kind,
    pub(super) migrate: Kind,
    pub(super) rollback: Kind,
    /// The peak memory of the change's process, in KiB.
    pub(super) peak_kib: u64,
    /// The duration of each step of a migration, in the order of the names.
    pub(super) steps: BTreeMap<String, Vec<Duration>>,
}

/// The measurements of one way to restart containerd, one per round.
#[derive(Default)]
pub(super) struct Kind {
    /// The time without CRI.
    pub(super) away: Vec<Duration>,
    /// The part of that time in which systemd had no process of containerd.
    pub(super) no_process: Vec<Duration>,
    /// The duration of the command.
    pub(super) whole: Vec<Duration>,
}

impl Figures {
    pub(super) const HEADER: &str = "| containerd | sandboxes | bare restart | `migrate` | ratio | `rollback` | ratio | whole `migrate` | peak |\n\
         |---|---|---|---|---|---|---|---|---|";

    pub(super) fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {:.2} | {} | {:.2} | {} | {:.1} MiB |",
            self.version,
            self.sandboxes,
            spread(&self.bare.away),
            spread(&self.migrate.away),
            ratio(&self.migrate, &self.bare),
            spread(&self.rollback.away),
            ratio(&self.rollback, &self.bare),
            spread(&self.migrate.whole),
            // The conversion is exact for some thousands of KiB.
            f64::from(u32::try_from(self.peak_kib).unwrap_or(u32::MAX)) / 1024.0,
        )
    }

    /// Returns where the time was spent.
    pub(super) fn details(&self) -> String {
        let gaps = [
            ("a plain restart", &self.bare),
            ("`migrate`", &self.migrate),
            ("`rollback`", &self.rollback),
        ];
        let gaps = gaps.map(|(name, kind)| format!("{name} {:.0}", median(&kind.no_process)));
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|(name, took)| format!("{name} {:.0}", median(took)))
            .collect();
        format!(
            "{} with {} sandboxes, medians in ms. Between the end of the old process and the start of the new: {}. Steps of \
             `migrate`: {}.",
            self.version,
            self.sandboxes,
            gaps.join(", "),
            steps.join(", ")
        )
    }

    /// Returns the changes that exceed the limit.
    fn over(&self) -> Option<String> {
        let (migrate, rollback) = (ratio(&self.migrate, &self.bare), ratio(&self.rollback, &self.bare));
        (migrate.max(rollback) > BUDGET).then(|| {
            format!(
                "{} with {} sandboxes ({migrate:.2} and {rollback:.2})",
                self.version, self.sandboxes
            )
        })
    }
}

/// States whether the limit is kept.
pub(super) fn verdict(all: &[Figures]) -> String {
    let over: Vec<String> = all.iter().filter_map(Figures::over).collect();
    if over.is_empty() {
        format!("Within the budget of {BUDGET} times a bare restart.")
    } else {
        format!(
            "Over the budget of {BUDGET} times a bare restart, `migrate` and `rollback`: {}.",
            over.join(", ")
        )
    }
}

fn ratio(kind: &Kind, bare: &Kind) -> f64 {
    median(&kind.away) / median(&bare.away)
}

/// Returns the median, the minimum and the maximum, in ms.
fn spread(times: &[Duration]) -> String {
    let least = times.iter().min().copied().unwrap_or_default();
    let most = times.iter().max().copied().unwrap_or_default();
    format!("{:.0} ({:.0} to {:.0}) ms", median(times), ms(least), ms(most))
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let middle = times.len() / 2;
    match (
        times.get(middle),
        middle.checked_sub(1).and_then(|below| times.get(below)),
    ) {
        (Some(one), Some(below)) if times.len().is_multiple_of(2) => f64::midpoint(ms(*below), ms(*one)),
        (Some(one), _) => ms(*one),
        (None, _) => f64::NAN,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
