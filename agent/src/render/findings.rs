//! The text of `check`: the verdict first, then each fact once, worst first.

use crate::render::{
    BAD, GOOD, MARK, TITLE, WARNING, count, escape_control_chars, paint, push_line, source_files, wrap, wrap_styled,
};
use crate::results::check::{CheckResult, UpgradeTarget, is_breaking};
use mirrorshift_containerd::{Finding, Severity};

/// Returns the text of `check`.
pub(crate) fn check(result: &CheckResult, is_live: bool, quiet: bool, verbose: bool, width: usize) -> String {
    let mut out = String::new();
    for target in &result.targets {
        out.push_str(&verdict(result, target, width));
    }
    if result.targets.len() > 1 {
        out.push('\n');
        out.push_str(&target_table(result));
        out.push('\n');
    }
    let label = format!("containerd {}:", result.version);
    let found = format!("{label} {}", counted_summary(&result.findings));
    out.push_str(&wrap("", &found, width).replacen(&label, &paint(TITLE, &label), 1));
    if quiet {
        return out;
    }
    out.push_str(&source_files::text(
        &result.sources,
        Some(&result.version),
        is_live,
        verbose,
        width,
    ));
    let mut printed: Vec<&Finding> = Vec::new();
    for target in &result.targets {
        let is_new = |finding: &&Finding| {
            !printed
                .iter()
                .any(|other| other.id == finding.id && other.place == finding.place && other.what == finding.what)
        };
        let news: Vec<&Finding> = target.news(&result.findings).into_iter().filter(is_new).collect();
        if news.is_empty() {
            continue;
        }
        push_line(
            &mut out,
            format_args!("\n{}\n", paint(TITLE, format!("With containerd {}", target.version))),
        );
        for finding in &news {
            out.push('\n');
            out.push_str(&finding_text(finding, width));
        }
        printed.extend(news);
    }
    if !result.findings.is_empty() {
        if !result.targets.is_empty() {
            push_line(
                &mut out,
                format_args!(
                    "\n{}\n",
                    paint(TITLE, format!("Today, with containerd {}", result.version))
                ),
            );
        }
        for finding in &result.findings {
            out.push('\n');
            out.push_str(&finding_text(finding, width));
        }
    }
    if result.is_migration_needed && result.targets.iter().any(|target| !target.is_safe()) {
        out.push('\n');
        out.push_str(&wrap(
            "",
            "`mirrorshift plan` shows the migration that must happen before the upgrade.",
            width,
        ));
    }
    out
}

/// `Upgrading containerd 1.7.24 to 2.2.0: NOT SAFE (1 breaks)`.
fn verdict(result: &CheckResult, target: &UpgradeTarget, width: usize) -> String {
    let news = target.news(&result.findings);
    let breaking: Vec<Finding> = target
        .changes
        .iter()
        .chain(&target.findings)
        .filter(|finding| is_breaking(finding))
        .cloned()
        .collect();
    let line = if target.requested == target.version.to_string() {
        target.requested.clone()
    } else {
        format!("{} ({} is the worst of its releases)", target.requested, target.version)
    };
    let label = format!("Upgrading containerd {} to {line}:", result.version);
    let (style, word, reason) = if target.is_safe() {
        let changes = match news.len() {
            0 => "nothing changes".to_owned(),
            number => format!("{} to read", count(number, "change")),
        };
        (GOOD, "safe", changes)
    } else {
        let changed: Vec<Finding> = news
            .iter()
            .filter(|finding| is_breaking(finding))
            .map(|f| (*f).clone())
            .collect();
        let reason = if changed.is_empty() {
            format!("{}, as today", summary(&breaking))
        } else {
            summary(&changed)
        };
        (BAD, "NOT SAFE", reason)
    };
    wrap("", &format!("{label} {word} ({reason})"), width)
        .replacen(&label, &paint(TITLE, &label), 1)
        .replacen(&format!(" {word} "), &format!(" {} ", paint(style, word)), 1)
}

/// One row per target: the release, the verdict, the number of findings.
fn target_table(result: &CheckResult) -> String {
    let mut out = format!(
        "  {:10} {:10} {:9} {}\n",
        "target", "release", "upgrade", "new findings"
    );
    for target in &result.targets {
        let word = if target.is_safe() { "safe" } else { "NOT SAFE" };
        let news: Vec<Finding> = target.news(&result.findings).into_iter().cloned().collect();
        push_line(
            &mut out,
            format_args!(
                "  {:10} {:10} {} {}\n",
                target.requested,
                target.version.to_string(),
                paint(if target.is_safe() { GOOD } else { BAD }, format!("{word:9}")),
                summary(&news)
            ),
        );
    }
    out
}

/// Returns `3 findings (2 deprecated, 1 advice)`.
fn counted_summary(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "no findings".to_owned();
    }
    format!("{} ({})", count(findings.len(), "finding"), summary(findings))
}

/// Returns the number of findings by severity.
pub(crate) fn summary(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "none".to_owned();
    }
    let parts = Severity::ALL.iter().filter_map(|severity| {
        let number = findings.iter().filter(|finding| finding.severity == *severity).count();
        (number > 0).then(|| format!("{number} {}", severity_text(*severity)))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the severity as an adjective, for counts. Its identifier in JSON is [`Severity::as_str`].
fn severity_text(severity: Severity) -> &'static str {
    match severity {
        Severity::Refuses => "rejected",
        Severity::Breaks => "breaking",
        Severity::Ignored => "ignored",
        Severity::Deprecated => "deprecated",
        Severity::Advice => "advice",
    }
}

/// Returns one entry per finding, for a plan.
pub(crate) fn brief(findings: &[Finding], width: usize) -> String {
    let place = |finding: &Finding| finding.place.as_ref().map(ToString::to_string).unwrap_or_default();
    let longest = findings
        .iter()
        .map(|finding| severity_text(finding.severity).len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let label = format!("  {:longest$}  ", severity_text(finding.severity));
        let text = match place(finding) {
            place if place.is_empty() => escape_control_chars(&finding.what),
            place => format!(
                "{} ({})",
                escape_control_chars(&finding.what),
                escape_control_chars(&place)
            ),
        };
        out.push_str(&wrap_styled(severity_style(finding.severity), &label, &text, width));
    }
    out
}

fn finding_text(finding: &Finding, width: usize) -> String {
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
        paint(severity_style(*severity), severity_text(*severity)),
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
    for (label, text) in [("found", what), ("effect", effect), ("remedy", remedy)] {
        if !text.is_empty() {
            out.push_str(&wrap(&format!("  {label:<8}"), &escape_control_chars(text), width));
        }
    }
    out
}

fn severity_style(severity: Severity) -> anstyle::Style {
    match severity {
        Severity::Refuses | Severity::Breaks => BAD,
        Severity::Ignored | Severity::Deprecated => WARNING,
        Severity::Advice => MARK,
    }
}
