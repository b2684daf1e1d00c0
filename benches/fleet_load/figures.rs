//! The requests to the API server between two moments, from its audit log, and the resources that it used for them.

use crate::{NAMESPACE, Outcome};
use jiff::Timestamp;
use mirrorshift_tests::lab::ControlPlane;
use mirrorshift_tests::lab::cluster::{AuditEvent, Mark, Part};
use std::collections::BTreeMap;
use std::fs;
use std::io::{
    Write, {self},
};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Writes the header of the table.
pub(crate) fn heading(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "| agents | when | seconds | requests a second | most in one second | refused or failed | requests | slots taken | \
         most held | a slot changes hands in | API server: processor, memory |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
}

/// A measurement that is in progress or has ended.
pub(crate) struct Figures {
    mark: Mark,
    began: Instant,
    processor: Duration,
    span: Duration,
    memory: u64,
    events: Vec<AuditEvent>,
}

impl Figures {
    pub(crate) fn begin(plane: &ControlPlane) -> Outcome<Self> {
        Ok(Self {
            mark: plane.audit().mark()?,
            began: Instant::now(),
            processor: processor(plane)?,
            span: Duration::ZERO,
            memory: 0,
            events: Vec::new(),
        })
    }

    pub(crate) fn end(self, plane: &ControlPlane) -> Outcome<Self> {
        let span = self.began.elapsed();
        // If the API server was restarted meanwhile, its processor time starts at 0 again.
        let now = processor(plane)?;
        let processor = now.checked_sub(self.processor).unwrap_or(now);
        let memory = memory(plane)?;
        // The audit log is written a moment after the answer.
        sleep(Duration::from_millis(500));
        let by = format!("system:serviceaccount:{NAMESPACE}:");
        let mut events = plane.audit().since(self.mark)?;
        events.retain(|event| event.user.username.starts_with(&by));
        Ok(Self {
            processor,
            span,
            memory,
            events,
            ..self
        })
    }

    pub(crate) fn row(&self, out: &mut impl Write, agents: u32, when: &str) -> io::Result<()> {
        // A watch is counted when it begins.
        let counted = |event: &&AuditEvent| (event.stage == "ResponseComplete") != (event.verb == "watch");
        let (mut by_second, mut by_verb, mut failed) = (BTreeMap::new(), BTreeMap::new(), 0);
        for event in self.events.iter().filter(counted) {
            let second = event.request_received_timestamp.get(..19).unwrap_or_default();
            *by_second.entry(second).or_insert(0_u32) += 1;
            *by_verb
                .entry(format!("{} {}", event.verb, event.object_ref.resource))
                .or_insert(0_u32) += 1;
            // A conflict is expected: another node has acquired the slot a moment before.
            failed += u32::from(event.code().is_some_and(|code| code >= 400 && code != 409));
        }
        let verbs: Vec<String> = by_verb.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
        let all: u32 = by_verb.values().sum();
        let (taken, most, hands) = self.slots();
        writeln!(
            out,
            "| {agents} | {when} | {:.0} | {:.1} | {} | {failed} | {} | {taken} | {most} | {hands} | {:.0} %, {} MiB |",
            self.span.as_secs_f64(),
            f64::from(all) / self.span.as_secs_f64(),
            by_second.values().max().unwrap_or(&0),
            verbs.join(", "),
            self.processor.as_secs_f64() / self.span.as_secs_f64() * 100.0,
            self.memory >> 20,
        )
    }

    /// Returns the number of acquired slots, the maximum that was held at the same time, and the median time from the
    /// release of a slot to its next acquisition.
    fn slots(&self) -> (usize, usize, String) {
        let (mut taken, mut held, mut most) = (0, 0_usize, 0);
        let mut free: BTreeMap<&str, Timestamp> = BTreeMap::new();
        let mut waits = Vec::new();
        let mut events: Vec<&AuditEvent> = self.events.iter().filter(|event| is_of_a_slot(event)).collect();
        events.sort_by(|one, two| one.stage_timestamp.cmp(&two.stage_timestamp));
        for event in events {
            let name = event.object_ref.name.as_str();
            let Ok(at) = event.stage_timestamp.parse::<Timestamp>() else {
                continue;
            };
            match (event.verb.as_str(), event.code()) {
                ("create", Some(201)) => {
                    (taken, held) = (taken + 1, held + 1);
                    most = most.max(held);
                    waits.extend(free.remove(name).map(|since| at.duration_since(since).as_millis()));
                }
                ("delete", Some(200)) => {
                    held = held.saturating_sub(1);
                    free.insert(name, at);
                }
                _ => {}
            }
        }
        waits.sort_unstable();
        let median = waits.get(waits.len() / 2);
        (
            taken,
            most,
            median.map_or_else(|| "-".to_owned(), |wait| format!("{wait} ms")),
        )
    }
}

fn is_of_a_slot(event: &AuditEvent) -> bool {
    event.object_ref.resource == "leases"
        && event.object_ref.name.starts_with("slot-")
        && event.stage == "ResponseComplete"
}

/// Returns the processor time of the API server until now.
fn processor(plane: &ControlPlane) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", plane.pid(Part::ApiServer)?))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| -> Outcome<u64> { Ok(fields.get(at).ok_or("a short stat")?.parse()?) };
    // The unit is 10 ms on every Linux.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// Returns its resident memory in bytes.
fn memory(plane: &ControlPlane) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", plane.pid(Part::ApiServer)?))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
