//! What was found, worst first, each with its place, what containerd does, and the remedy.

use crate::render::{BAD, LOOK, MARK, TITLE, WIDTH, escape_control_chars, paint, push_line, wrap};
use crate::results::check::CheckResult;
use mirrorshift_containerd::{Finding, Severity};

/// The text of `check`.
pub(crate) fn check(checked: &CheckResult) -> String {
    let mut out = section(
        &format!("Containerd {} and these files", checked.version),
        &checked.findings,
    );
    if let Some(target) = &checked.target {
        let now = &checked.version;
        let title = format!("An upgrade of containerd {now} to {} and these files", target.version);
        out.push('\n');
        out.push_str(&section(&title, &target.changes));
        // What is found now as well is told above.
        let told = |finding: &&Finding| {
            let same = |other: &Finding| other.id == finding.id && other.place == finding.place;
            !checked.findings.iter().chain(&target.changes).any(same)
        };
        let new: Vec<_> = target.findings.iter().filter(told).cloned().collect();
        if !new.is_empty() {
            out.push('\n');
            out.push_str(&section(&format!("New with containerd {}", target.version), &new));
        }
    }
    out
}

fn section(title: &str, findings: &[Finding]) -> String {
    let mut out = format!("{}: {}\n", paint(TITLE, title), summary(findings));
    for finding in findings {
        out.push('\n');
        out.push_str(&one(finding));
    }
    out
}

/// How many there are, by severity.
pub(crate) fn summary(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing found".to_owned();
    }
    let mut parts: Vec<(Severity, usize)> = Vec::new();
    for finding in findings {
        match parts.iter_mut().find(|(severity, _)| *severity == finding.severity) {
            Some((_, number)) => *number += 1,
            None => parts.push((finding.severity, 1)),
        }
    }
    parts.sort_unstable();
    let parts = parts
        .iter()
        .map(|(severity, number)| format!("{number} {}", severity.as_str()));
    parts.collect::<Vec<_>>().join(", ")
}

/// One line a finding, for a plan.
pub(crate) fn brief(findings: &[Finding]) -> String {
    let place = |finding: &Finding| finding.place.as_ref().map(ToString::to_string).unwrap_or_default();
    let width = findings
        .iter()
        .map(|finding| finding.severity.as_str().len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let label = format!("{:width$}", finding.severity.as_str());
        let text = match place(finding) {
            place if place.is_empty() => escape_control_chars(&finding.what),
            place => format!(
                "{} ({})",
                escape_control_chars(&finding.what),
                escape_control_chars(&place)
            ),
        };
        let plain = wrap(&format!("  {label}  "), &text, WIDTH);
        out.push_str(&plain.replacen(&label, &paint(colour(finding.severity), &label), 1));
    }
    out
}

fn one(finding: &Finding) -> String {
    let Finding {
        id,
        severity,
        place,
        what,
        effect,
        remedy,
    } = finding;
    let mut out = format!(
        "{} {}\n",
        paint(colour(*severity), severity.as_str()),
        paint(TITLE, format!("[{}]", id.as_str()))
    );
    if let Some(place) = place {
        push_line(
            &mut out,
            format_args!(
                "  {} {}\n",
                paint(MARK, "-->"),
                escape_control_chars(&place.to_string())
            ),
        );
    }
    for (label, text) in [("found", what), ("containerd", effect), ("help", remedy)] {
        if !text.is_empty() {
            out.push_str(&wrap(&format!("  {label:<10}  "), &escape_control_chars(text), WIDTH));
        }
    }
    out
}

fn colour(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Refuses | Severity::Breaks => BAD,
        Severity::Ignored | Severity::Deprecated => LOOK,
        Severity::Advice => MARK,
    }
}
