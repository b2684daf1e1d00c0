//! Who is asked, before and after: one registry a row, its hosts in their order.

use crate::render::{GOOD, LOOK, TITLE, WIDTH, escape_control_chars, paint, push_line};
use crate::results::rehearsal::{RehearsalResult, RouteComparison};
use crate::wording::{host_url, name_unnamed_host};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Failure, RegistryHost, Route, Scheme, Tls};
use mirrorshift_plan::RouteChange;
use mirrorshift_plan::rehearsal::{ObservedRequest, ReferenceKind};

const ARROW: &str = " → ";

/// What a host is asked for, where that is not everything.
fn limits(ask: &RegistryHost) -> Vec<&'static str> {
    let mut limits = Vec::new();
    match (ask.resolves, ask.pulls) {
        (true, true) => {}
        (false, true) => limits.push("layers only"),
        (true, false) => limits.push("tags only"),
        (false, false) => limits.push("never asked"),
    }
    if ask.scheme == Scheme::HttpsThenHttp {
        limits.push("https first");
    }
    limits
}

fn host(ask: &RegistryHost) -> String {
    let limits = limits(ask);
    if limits.is_empty() {
        host_url(ask)
    } else {
        format!("{} ({})", host_url(ask), limits.join(", "))
    }
}

fn hosts(route: &Route) -> Vec<String> {
    match route {
        Route::Hosts(asks) => asks.iter().map(host).collect(),
        Route::Fails(failure) => vec![format!("nobody: {}", escape_control_chars(&failure.reason))],
    }
}

/// The table of a plan.
pub(crate) fn table(routes: &[RouteChange]) -> String {
    let name = |change: &RouteChange| escape_control_chars(&change.registry.to_string());
    let width = routes
        .iter()
        .map(|change| name(change).chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for change in routes {
        let pad = " ".repeat(width - name(change).chars().count());
        let indent = width + 6;
        let row = |label: &str, route: &Route| match route {
            Route::Hosts(_) => chain(&hosts(route), indent + label.len()),
            // Why is told once, where the plan says what is wrong.
            Route::Fails(failure) if change.differs() => format!("nobody: the pull fails{}", at(failure)),
            Route::Fails(_) => hosts(route).concat(),
        };
        if change.differs() {
            let mark = paint(LOOK, format!("~ {}", name(change)));
            push_line(
                &mut out,
                format_args!("  {mark}{pad}  before  {}\n", row("before  ", &change.before)),
            );
            push_line(
                &mut out,
                format_args!(
                    "{}{} {}\n",
                    " ".repeat(indent),
                    paint(GOOD, "after  "),
                    row("before  ", &change.after)
                ),
            );
            if !change.asked_by.is_empty() {
                let keys = change
                    .asked_by
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ");
                push_line(
                    &mut out,
                    format_args!("{}asked for by the policy's {keys}\n", " ".repeat(indent)),
                );
            }
        } else {
            push_line(
                &mut out,
                format_args!("  = {}{pad}  {}\n", paint(TITLE, name(change)), row("", &change.after)),
            );
        }
        for detail in details(&change.after) {
            push_line(&mut out, format_args!("{}{detail}\n", " ".repeat(indent)));
        }
    }
    out
}

fn at(failure: &Failure) -> String {
    let place = failure.place.as_ref();
    place
        .map(|place| format!(" ({})", escape_control_chars(&place.to_string())))
        .unwrap_or_default()
}

/// Hosts on one line, or on one each where the line would be long.
fn chain(hosts: &[String], indent: usize) -> String {
    let line = hosts.join(ARROW);
    if indent + line.chars().count() <= WIDTH {
        return line;
    }
    hosts.join(&format!("\n{}→ ", " ".repeat(indent)))
}

/// What a request carries beside its URL.
fn details(route: &Route) -> Vec<String> {
    route
        .asks()
        .iter()
        .filter_map(|ask| {
            let told = told(ask);
            (!told.is_empty()).then(|| format!("{}: {}", host_url(ask), told.join(", ")))
        })
        .collect()
}

/// TLS, headers by name, whose credentials, and the time for a connection.
pub(crate) fn told(ask: &RegistryHost) -> Vec<String> {
    let mut told = tls(&ask.tls);
    let names: Vec<_> = ask.headers.names().map(escape_control_chars).collect();
    if !names.is_empty() {
        told.push(format!("header {}", names.join(", ")));
    }
    if let Some(key) = &ask.credentials {
        told.push(format!(
            "credentials of configs.\"{}\".auth",
            escape_control_chars(&redact::free_text(key))
        ));
    }
    if let Some(timeout) = ask.dial_timeout {
        told.push(format!("connects within {timeout:?}"));
    }
    told
}

fn tls(tls: &Tls) -> Vec<String> {
    let Tls {
        skip_verify,
        ca,
        client,
    } = tls;
    let mut told: Vec<String> = ca
        .iter()
        .map(|path| format!("CA {}", escape_control_chars(path)))
        .collect();
    told.extend(
        client
            .iter()
            .map(|(certificate, _)| format!("client certificate {}", escape_control_chars(certificate))),
    );
    if *skip_verify {
        told.push("any certificate is taken".to_owned());
    }
    told
}

/// Routes that differ although nobody asked for it.
pub(crate) fn refused(routes: &[RouteChange]) -> String {
    let mut out = String::new();
    for change in routes {
        push_line(
            &mut out,
            format_args!(
                "    {}\n",
                paint(TITLE, escape_control_chars(&change.registry.to_string()))
            ),
        );
        for (label, route) in [("as it should be", &change.before), ("as it would be ", &change.after)] {
            let indent = 8 + label.len();
            push_line(
                &mut out,
                format_args!("      {label}  {}\n", chain(&hosts(route), indent)),
            );
            for detail in details(route) {
                push_line(&mut out, format_args!("{}{detail}\n", " ".repeat(indent)));
            }
        }
    }
    out
}

/// Who was asked in a sandbox, a registry a line: as before, or both.
pub(crate) fn rehearsed(rehearsed: &RehearsalResult) -> String {
    let rows = rehearsed.rows();
    let name = |row: &RouteComparison<'_>| match row.probe.named {
        ReferenceKind::Tag => escape_control_chars(&row.probe.registry.to_string()),
        ReferenceKind::Digest => format!("{} by digest", escape_control_chars(&row.probe.registry.to_string())),
    };
    let asked = |asked: &[ObservedRequest]| {
        let hosts: Vec<String> = asked
            .iter()
            .map(|host| escape_control_chars(&redact::free_text(&host.to_string())))
            .collect();
        if hosts.is_empty() {
            return "nobody".to_owned();
        }
        name_unnamed_host(&hosts.join(ARROW))
    };
    let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        let pad = " ".repeat(width - name(row).chars().count());
        if row.before == row.after {
            push_line(&mut out, format_args!("  = {}{pad}  {}\n", name(row), asked(row.after)));
            continue;
        }
        push_line(
            &mut out,
            format_args!("  ~ {}{pad}  before  {}\n", name(row), asked(row.before)),
        );
        push_line(
            &mut out,
            format_args!("    {}  after   {}\n", " ".repeat(width), asked(row.after)),
        );
    }
    out
}
