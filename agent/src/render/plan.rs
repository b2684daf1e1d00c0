//! What would change, as a reviewer wants to read it: what and why in a line, the files, the routes, what to do next.

use crate::node::{NodeSource, PolicySource};
use crate::render::{
    DIM, LOOK, MARK, TITLE, WIDTH, count, diff, escape_control_chars, findings, paint, push_line, routes, wrap,
};
use crate::results::plan::PlanView;
use crate::unified_diff::step_diff;
use crate::wildcard_advice::WildcardAdvice;
use crate::wording::note_text;
use mirrorshift_containerd::Finding;
use mirrorshift_containerd::redact;
use mirrorshift_plan::{Expect, Plan, RemovedText, RouteChange};

/// The text of `plan`.
pub(crate) fn text(shown: &PlanView<'_>) -> String {
    let plan = shown.plan;
    let mut out = headline(shown);
    if let Some(change) = &shown.node.status.unfinished {
        let text = format!(
            "the change {} is unfinished ({}): `migrate` brings it to its end before anything else",
            change.id,
            change.phase.meaning()
        );
        out.push_str(&wrap("", &text, WIDTH));
    }
    let advice = WildcardAdvice::of(plan);
    // The advice says the same where it still holds once the plan is made.
    let told = |finding: &&Finding| finding.id != WildcardAdvice::ID;
    let found: Vec<_> = shown.findings.iter().filter(told).cloned().collect();
    if !found.is_empty() {
        out.push_str(&title(&format!("Findings: {}", findings::summary(&found))));
        out.push_str(&findings::brief(&found));
    }
    if !plan.is_empty() {
        out.push_str(&title("Files"));
        for (number, step) in plan.steps.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            push_line(
                &mut out,
                format_args!("{}\n", paint(DIM, format!("# {}", escape_control_chars(&step.why)))),
            );
            out.push_str(&diff::paint_diff(&step_diff(step, &shown.node.tree)));
        }
    }
    out.push_str(&title(&routes_title(&plan.routes)));
    out.push_str(&routes::table(&plan.routes));
    if let Some(rehearsed) = shown.rehearsed {
        out.push_str(&title("As this node's containerd asked, in a sandbox"));
        out.push_str(&routes::rehearsed(rehearsed));
    }
    let notes = notes(shown, advice.as_ref());
    if !notes.is_empty() {
        out.push_str(&title("Notes"));
        out.push_str(&notes);
    }
    out.push_str(&gone("Comments that leave with their tables", &plan.comments, plan));
    out.push_str(&gone(
        "Keys that containerd never read stay as comments",
        &plan.kept,
        plan,
    ));
    if !plan.is_empty() {
        out.push_str(&title("Next"));
        out.push_str(&next(shown));
    }
    out
}

fn title(text: &str) -> String {
    format!("\n{}\n", paint(TITLE, text))
}

fn headline(shown: &PlanView<'_>) -> String {
    let (plan, version) = (shown.plan, &shown.node.version);
    if plan.is_empty() {
        let why = match &plan.config_path {
            Some(path) => format!(
                "the registries of this node are on `config_path` ({}) already",
                escape_control_chars(path)
            ),
            None => "no registry settings are in force".to_owned(),
        };
        return format!("{} for containerd {version}: {why}\n", paint(TITLE, "Nothing to do"));
    }
    let gone = plan.steps.iter().filter(|step| step.content.is_none()).count();
    let new = plan.steps.iter().filter(|step| step.expect == Expect::Absent).count();
    let files: Vec<String> = [
        (new, "new"),
        (plan.steps.len() - new - gone, "changed"),
        (gone, "removed"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect();
    let what = match (&plan.config_path, plan.restart) {
        (Some(path), true) => format!(
            "move from `registry.mirrors` to hosts.toml files below {}",
            escape_control_chars(path)
        ),
        (Some(path), false) => format!("change hosts.toml files below {}", escape_control_chars(path)),
        (None, _) => "change the registry settings".to_owned(),
    };
    let routes = verdict(&plan.routes);
    let files = format!(
        "{} {}",
        files.join(" and "),
        if plan.steps.len() == 1 { "file" } else { "files" }
    );
    let label = paint(TITLE, format!("Plan for containerd {version}:"));
    format!("{label} {what} ({files})\n{routes}\n")
}

/// What becomes of the routes, in a sentence.
fn verdict(routes: &[RouteChange]) -> String {
    let heals = |change: &&RouteChange| change.before.asks().is_empty() && change.asked_by.is_empty();
    let differ = routes.iter().filter(|change| change.differs());
    let (healed, asked): (Vec<_>, Vec<_>) = differ.partition(heals);
    match (healed.len(), asked.len()) {
        (0, 0) => "Every pull asks the same hosts as before, in the same order.".to_owned(),
        (0, 1) => "One registry is asked otherwise than before, as the policy wants; all others as before.".to_owned(),
        (0, number) => {
            format!("{number} registries are asked otherwise than before, as the policy wants; all others as before.")
        }
        (_, 0) => "Pulls that fail now ask the hosts that their settings name.".to_owned(),
        (_, number) => {
            let registries = count(number, "registry");
            format!("Pulls that fail now ask the hosts that their settings name; for {registries} those of the policy.")
        }
    }
}

fn routes_title(routes: &[RouteChange]) -> String {
    let mut title = "Routes: hosts in the order in which they are asked".to_owned();
    if routes.iter().any(RouteChange::differs) {
        title.push_str("; = as before, ~ otherwise");
    } else {
        title.push_str(", all as before");
    }
    title
}

fn notes(shown: &PlanView<'_>, advice: Option<&WildcardAdvice>) -> String {
    let mut out = String::new();
    for note in &shown.plan.notes {
        out.push_str(&wrap("  - ", &note_text(note), WIDTH));
    }
    if let Some(advice) = advice {
        let lead = format!("  {} ", paint(LOOK, "!"));
        out.push_str(&wrap("  ! ", &advice.text(shown.findings), WIDTH).replacen("  ! ", &lead, 1));
        let host = example(advice, &shown.plan.routes);
        let text = format!(
            "`--wildcard docker.io` leaves it to Docker Hub alone; `--mirror {host}=URL` gives a registry a cache of its \
             own. Without either the plan keeps what the node does today."
        );
        out.push_str(&wrap("    ", &text, WIDTH));
    }
    out
}

/// A registry to show the advice with: one that the wildcard serves and that is no mirror itself, else a well-known one.
fn example<'a>(advice: &'a WildcardAdvice, routes: &[RouteChange]) -> &'a str {
    let is_mirror = |name: &str| {
        let asks = routes.iter().flat_map(|change| change.before.asks());
        asks.filter(|ask| ask.namespace.is_some()).any(|ask| ask.host == name)
    };
    let has_own = |name: &str| {
        let mut named = routes.iter().map(|change| change.registry.to_string());
        named.any(|registry| registry == name)
    };
    let served = advice.registries.iter().map(String::as_str);
    let known = ["ghcr.io", "quay.io", "registry.k8s.io"]
        .into_iter()
        .filter(|name| !has_own(name));
    let served = served.filter(|name| name.contains('.') && !is_mirror(name));
    served.chain(known).next().unwrap_or("HOST")
}

fn gone(heading: &str, gone: &[(String, RemovedText)], plan: &Plan) -> String {
    if gone.is_empty() {
        return String::new();
    }
    let mut out = title(heading);
    for (path, gone) in gone {
        let place = paint(MARK, format!("{}:{}", escape_control_chars(path), gone.line));
        let now = stands_in(&gone.text, plan).map(|path| format!(", now in {}", escape_control_chars(path)));
        push_line(&mut out, format_args!("  {place}{}\n", now.unwrap_or_default()));
        for line in redact::fragment(&gone.text, &gone.table).lines() {
            push_line(&mut out, format_args!("    {}\n", escape_control_chars(line.trim())));
        }
    }
    out
}

/// The new file that took a comment over.
fn stands_in<'p>(comment: &str, plan: &'p Plan) -> Option<&'p str> {
    let took = |content: &[u8]| {
        String::from_utf8_lossy(content)
            .lines()
            .any(|line| line == comment.trim())
    };
    let new = plan.steps.iter().filter(|step| step.expect == Expect::Absent);
    let mut taken = new.filter(|step| step.content.as_deref().is_some_and(took));
    taken.next().map(|step| step.path.as_str())
}

fn next(shown: &PlanView<'_>) -> String {
    let restart = if shown.plan.restart {
        "containerd must be restarted for this to count: it reads its configuration at the start"
    } else {
        "no restart is needed: containerd reads hosts.toml at every pull"
    };
    let do_it = command(shown.source, "migrate", Some(shown.policy), false);
    let written = count(shown.plan.steps.len(), "file");
    let what = if shown.live && shown.plan.restart {
        format!("# writes {written}, restarts containerd, and undoes all of it when that does not serve as before")
    } else {
        format!("# writes {written}; `mirrorshift rollback` puts the old bytes back")
    };
    format!("  {restart}\n  {do_it}   {}\n", paint(DIM, what))
}

/// Returns the command that does `verb`, with the arguments of this run.
pub(crate) fn command(source: &NodeSource, verb: &str, policy: Option<&PolicySource>, no_restart: bool) -> String {
    let mut words = vec!["mirrorshift".to_owned(), verb.to_owned()];
    let mut option = |name: &str, value: &str| words.push(format!("{name} {}", quoted(value)));
    if source.root != std::path::Path::new("/") {
        option("--root", &source.root.display().to_string());
    }
    if verb == "migrate" {
        if let Some(version) = &source.containerd_version {
            option("--containerd-version", version);
        }
        if source.config() != mirrorshift_containerd::DEFAULT_CONFIG {
            option("--config", source.config());
        }
    }
    for (flag, value) in policy.iter().flat_map(|policy| policy.flags()) {
        option(flag, value);
    }
    if no_restart {
        words.push("--no-restart".to_owned());
    }
    escape_control_chars(&words.join(" "))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
