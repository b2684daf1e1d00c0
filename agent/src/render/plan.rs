//! The text of `plan`: a summary, what differs, the diff, and the summary again with the next command.

use crate::node::NodeSource;
use crate::render::next_command::next_command;
use crate::render::{
    BAD, DIM, GOOD, MARK, TITLE, WARNING, count, diff, escape_control_chars, findings, paint, push_line, routes,
    source_files, wrap, wrap_styled,
};
use crate::results::plan::{PlanView, Readiness};
use crate::unified_diff::step_diff;
use crate::wildcard_advice::WildcardAdvice;
use crate::wording::{images_unknown_text, note_text};
use mirrorshift_containerd::Finding;
use mirrorshift_containerd::redact;
use mirrorshift_plan::{Expect, Plan, RemovedText, RouteChange, Step};

/// Rows and lines that are printed without `--routes` and `--diff`. A longer table or diff is left to these flags, so that a
/// plan of many registries fits a screen.
const SHORT_TABLE: usize = 10;
const SHORT_DIFF: usize = 24;
const LABEL: usize = 10;

/// The parts of a plan that are printed, and the width.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct PlanLayout {
    pub(crate) width: usize,
    /// Print the diff, however long.
    pub(crate) diff: bool,
    /// Print every route, also the unchanged ones.
    pub(crate) routes: bool,
    /// Print only the summary.
    pub(crate) quiet: bool,
    /// Print every file that was read.
    pub(crate) verbose: bool,
}

/// Returns the text of `plan`.
pub(crate) fn text(view: &PlanView<'_>, layout: PlanLayout) -> String {
    let (plan, width) = (view.plan, layout.width);
    let mut out = summary(view, layout);
    if layout.quiet {
        return out;
    }
    if let Some(change) = &view.node.status.unfinished {
        let text = format!(
            "The change {} is unfinished: {}. `migrate` undoes it first and then plans again.",
            change.id,
            change.phase.meaning()
        );
        out.push('\n');
        out.push_str(&wrap("", &text, width));
    }
    let advice = WildcardAdvice::of(plan);
    // The advice states the same fact about the new files.
    let is_printed = |finding: &&Finding| finding.id != WildcardAdvice::ID;
    let found: Vec<_> = view.findings.iter().filter(is_printed).cloned().collect();
    if !found.is_empty() {
        out.push_str(&title("Findings (`mirrorshift check` explains them)"));
        out.push_str(&findings::brief(&found, width));
    }
    out.push_str(&route_section(&plan.routes, layout));
    if let Some(rehearsed) = view.rehearsed {
        out.push_str(&title("Hosts that this node's containerd contacted in a sandbox"));
        out.push_str(&routes::rehearsed(rehearsed));
    }
    let notes = notes(view, advice.as_ref(), width);
    if !notes.is_empty() {
        out.push_str(&title("Notes"));
        out.push_str(&notes);
    }
    if !plan.is_empty() {
        out.push_str(&file_section(view, layout));
    }
    if layout.diff {
        out.push_str(&removed_text("Comments of removed tables", &plan.comments, plan));
        out.push_str(&removed_text(
            "Keys that containerd never read, kept as comments",
            &plan.kept,
            plan,
        ));
    }
    if !plan.is_empty() {
        out.push_str(&conclusion(view, width));
    }
    out
}

fn title(text: &str) -> String {
    format!("\n{}\n", paint(TITLE, text))
}

/// The first lines: the release, the routes, the files, the restart, the warnings.
fn summary(view: &PlanView<'_>, layout: PlanLayout) -> String {
    let (plan, version, width) = (view.plan, &view.node.version, layout.width);
    let root = escape_control_chars(&view.source.root.display().to_string());
    let read = source_files::text(view.sources, Some(version), view.live, layout.verbose, width);
    if plan.is_empty() {
        let reason = match &plan.config_path {
            Some(path) => format!(
                "the registries of this node use `config_path` ({})",
                escape_control_chars(path)
            ),
            None => "no registry settings take effect".to_owned(),
        };
        let label = "Nothing to do";
        return wrap(
            "",
            &format!("{label} for containerd {version} on {root}: {reason}."),
            width,
        )
        .replacen(label, &paint(TITLE, label), 1)
            + &read;
    }
    let label = "Plan";
    let mut out = wrap(
        "",
        &format!("{label} for containerd {version} on {root} (dry run: nothing has been changed)"),
        width,
    )
    .replacen(label, &paint(TITLE, label), 1);
    let row = |label: &str, text: &str| wrap(&format!("  {label:LABEL$}"), text, width);
    out.push_str(&row("routes", &route_summary(&plan.routes)));
    out.push_str(&row("files", &file_summary(plan)));
    out.push_str(&row(
        "restart",
        match (plan.restart, view.live) {
            (true, true) => "containerd, once",
            (true, false) => "containerd must be restarted on the node afterwards",
            (false, _) => "none: containerd reads hosts.toml at every pull",
        },
    ));
    out.push_str(&row(
        "warnings",
        &if view.findings.is_empty() {
            "none".to_owned()
        } else {
            findings::summary(view.findings)
        },
    ));
    out + &read
}

fn route_summary(routes: &[RouteChange]) -> String {
    let changed = routes.iter().filter(|route| route.differs()).count();
    let repaired = routes.iter().filter(|route| is_repaired(route)).count();
    let mut text = format!(
        "{} checked, {} unchanged, {changed} changed",
        count(routes.len(), "registry"),
        routes.len() - changed
    );
    match (repaired, changed - repaired) {
        (0, 0) => {}
        (0, _) => text.push_str(" as requested"),
        (_, 0) => text.push_str(": pulls that currently fail will use the configured hosts"),
        (_, requested) => {
            push_line(
                &mut text,
                format_args!(": pulls that currently fail will use the configured hosts, {requested} as requested"),
            );
        }
    }
    text
}

/// True for a route that fails today and that no policy requested to change.
fn is_repaired(route: &RouteChange) -> bool {
    route.differs() && route.before.hosts().is_empty() && route.policy_keys.is_empty()
}

fn file_summary(plan: &Plan) -> String {
    let removed = plan.steps.iter().filter(|step| step.content.is_none()).count();
    let new = plan.steps.iter().filter(|step| step.expect == Expect::Absent).count();
    let parts: Vec<String> = [
        (new, "new"),
        (plan.steps.len() - new - removed, "modified"),
        (removed, "removed"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    parts.join(", ")
}

fn route_section(all: &[RouteChange], layout: PlanLayout) -> String {
    let is_long = all.len() > SHORT_TABLE;
    let shown: Vec<&RouteChange> = all
        .iter()
        .filter(|route| layout.routes || !is_long || route.differs())
        .collect();
    if shown.is_empty() {
        let text =
            "Every route is unchanged: containerd tries the same hosts in the same order. `--routes` lists them.";
        return format!("\n{}", wrap("", text, layout.width));
    }
    let mut out = title("Routes: hosts in the order in which containerd tries them");
    out.push_str(&paint(DIM, "  = unchanged   ~ changed"));
    out.push('\n');
    out.push_str(&routes::table(&shown, layout.width));
    let hidden = all.len() - shown.len();
    if hidden > 0 {
        push_line(
            &mut out,
            format_args!("  = {} unchanged: `--routes` lists them\n", count(hidden, "registry")),
        );
    }
    out
}

fn file_section(view: &PlanView<'_>, layout: PlanLayout) -> String {
    let plan = view.plan;
    let diffs: Vec<(&Step, String)> = plan
        .steps
        .iter()
        .map(|step| (step, step_diff(step, &view.node.tree)))
        .collect();
    let lines: usize = diffs.iter().map(|(_, diff)| diff.lines().count()).sum();
    let mut out = title("Files");
    if layout.diff || lines <= SHORT_DIFF {
        for (number, (step, diff)) in diffs.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            push_line(
                &mut out,
                format_args!("{}\n", paint(DIM, format!("# {}", escape_control_chars(&step.why)))),
            );
            out.push_str(&diff::paint_diff(diff));
        }
        return out;
    }
    // New files of one directory are one entry: a plan of 25 registries has 25 of them.
    let is_new = |step: &Step| step.expect == Expect::Absent && step.path.ends_with("/hosts.toml");
    let directory = plan.config_path.as_deref().unwrap_or_default();
    let new: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| is_new(step))
        .filter_map(|step| {
            step.path
                .strip_prefix(directory)?
                .strip_prefix('/')?
                .strip_suffix("/hosts.toml")
        })
        .collect();
    if !new.is_empty() {
        let text = format!(
            "{directory}/HOST/hosts.toml for {}: {}",
            count(new.len(), "host"),
            new.join(", ")
        );
        out.push_str(&wrap_styled(
            GOOD,
            "  new       ",
            &escape_control_chars(&text),
            layout.width,
        ));
    }
    for (step, diff) in &diffs {
        let is_listed = is_new(step) && step.path.starts_with(&format!("{directory}/"));
        if is_listed {
            continue;
        }
        let (style, label) = match (&step.expect, &step.content) {
            (_, None) => (BAD, "removed"),
            (Expect::Absent, Some(_)) => (GOOD, "new"),
            (Expect::File(_), Some(_)) => (WARNING, "modified"),
        };
        let changed = |sign: char| {
            let lines = diff.lines().skip(2);
            lines.filter(|line| line.starts_with(sign)).count()
        };
        let text = format!(
            "{} (−{} +{})",
            escape_control_chars(&step.path),
            changed('-'),
            changed('+')
        );
        out.push_str(&wrap_styled(style, &format!("  {label:LABEL$}"), &text, layout.width));
    }
    push_line(
        &mut out,
        format_args!("  `--diff` shows all {lines} lines of the diff\n"),
    );
    out
}

fn notes(view: &PlanView<'_>, advice: Option<&WildcardAdvice>, width: usize) -> String {
    let mut out = String::new();
    for note in &view.plan.notes {
        out.push_str(&wrap("  - ", &note_text(note), width));
    }
    if let Some(why) = view.node.images_unknown() {
        out.push_str(&wrap("  - ", &images_unknown_text(why), width));
    }
    if let Some(advice) = advice {
        out.push_str(&wrap_styled(WARNING, "  ! ", &advice.text(view.findings), width));
        let host = example_registry(advice, &view.plan.routes);
        let text = format!(
            "`--wildcard docker.io` uses it only for Docker Hub. `--mirror {host}=URL` gives a registry its own cache. Without \
             either flag the plan keeps today's routes."
        );
        out.push_str(&wrap("    ", &text, width));
    }
    out
}

/// Returns a registry for the example of the advice: a registry that the wildcard serves and that is not a mirror itself, or
/// else a well-known registry.
fn example_registry<'a>(advice: &'a WildcardAdvice, routes: &[RouteChange]) -> &'a str {
    let is_mirror = |name: &str| {
        let hosts = routes.iter().flat_map(|change| change.before.hosts());
        hosts
            .filter(|host| host.namespace.is_some())
            .any(|host| host.host == name)
    };
    let has_own_route = |name: &str| {
        let mut named = routes.iter().map(|change| change.registry.to_string());
        named.any(|registry| registry == name)
    };
    let served = advice.registries.iter().map(String::as_str);
    let known = ["ghcr.io", "quay.io", "registry.k8s.io"]
        .into_iter()
        .filter(|name| !has_own_route(name));
    let served = served.filter(|name| name.contains('.') && !is_mirror(name));
    served.chain(known).next().unwrap_or("HOST")
}

fn removed_text(heading: &str, removed: &[(String, RemovedText)], plan: &Plan) -> String {
    if removed.is_empty() {
        return String::new();
    }
    let mut out = title(heading);
    for (path, removed) in removed {
        let place = paint(MARK, format!("{}:{}", escape_control_chars(path), removed.line));
        let new_file =
            adopting_file(&removed.text, plan).map(|path| format!(", moved to {}", escape_control_chars(path)));
        push_line(&mut out, format_args!("  {place}{}\n", new_file.unwrap_or_default()));
        for line in redact::fragment(&removed.text, &removed.table).lines() {
            push_line(&mut out, format_args!("    {}\n", escape_control_chars(line.trim())));
        }
    }
    out
}

/// Returns the new file that contains the comment.
fn adopting_file<'p>(comment: &str, plan: &'p Plan) -> Option<&'p str> {
    let contains_comment = |content: &[u8]| {
        String::from_utf8_lossy(content)
            .lines()
            .any(|line| line == comment.trim())
    };
    let new = plan.steps.iter().filter(|step| step.expect == Expect::Absent);
    let mut adopting = new.filter(|step| step.content.as_deref().is_some_and(contains_comment));
    adopting.next().map(|step| step.path.as_str())
}

/// The last lines: the summary in a sentence, the readiness, and the command that applies the plan.
fn conclusion(view: &PlanView<'_>, width: usize) -> String {
    let plan = view.plan;
    let restart = match (plan.restart, view.live) {
        (true, true) => "containerd restarts once",
        (true, false) => "containerd must be restarted afterwards",
        (false, _) => "no restart",
    };
    let mut out = title("Summary");
    let text = format!(
        "{}; files: {}; {restart}. Nothing has been changed.",
        route_summary(&plan.routes),
        file_summary(plan)
    );
    out.push_str(&wrap("  ", &text, width));
    out.push_str(&readiness(&view.readiness, width));
    out.push_str(&apply_command(view.source, view));
    out
}

fn apply_command(source: &NodeSource, view: &PlanView<'_>) -> String {
    let command = next_command(source, "migrate", Some(view.policy));
    let label = match &view.readiness {
        Readiness::Blocked(_) => "When this is resolved, apply the plan with:",
        _ => "Apply the plan with:",
    };
    // A command is not wrapped, so that it can be copied.
    format!("  {label}\n    {command}\n")
}

fn readiness(readiness: &Readiness, width: usize) -> String {
    let label = "  Ready to migrate: ";
    match readiness {
        Readiness::NotApplicable => String::new(),
        Readiness::Ready => format!("{label}{}\n", paint(GOOD, "yes")),
        Readiness::Busy(work) => wrap(
            label,
            &format!("yes, when this has ended: {}", escape_control_chars(work)),
            width,
        ),
        Readiness::Unknown(reason) => wrap(label, &format!("unknown: {}", escape_control_chars(reason)), width),
        Readiness::Blocked(blockers) => {
            let mut out = format!("{label}{}\n", paint(BAD, "no"));
            for (number, blocker) in blockers.iter().enumerate() {
                out.push_str(&wrap("  - ", &escape_control_chars(&blocker.message), width));
                // Obstacles with the same remedy share one line of help.
                let is_repeated = blockers.get(number + 1).is_some_and(|next| next.hint == blocker.hint);
                if !blocker.hint.is_empty() && !is_repeated {
                    out.push_str(&wrap("    help: ", &escape_control_chars(&blocker.hint), width));
                }
            }
            out
        }
    }
}
