//! Routes before and after: one registry per row, its hosts in the order in which containerd tries them.

use crate::render::{GOOD, TITLE, WARNING, escape_control_chars, paint, push_line};
use crate::results::rehearsal::{RehearsalResult, RouteComparison};
use crate::wording::{host_url, name_unnamed_host};
use mirrorshift_containerd::redact;
use mirrorshift_containerd::{Failure, RegistryHost, Route, Scheme, Tls};
use mirrorshift_plan::RouteChange;
use mirrorshift_plan::rehearsal::{ObservedRequest, ReferenceKind};

const ARROW: &str = " → ";

/// Returns the restrictions of a host.
fn restrictions(host: &RegistryHost) -> Vec<&'static str> {
    let mut restrictions = Vec::new();
    match (host.resolves, host.pulls) {
        (true, true) => {}
        (false, true) => restrictions.push("layers only"),
        (true, false) => restrictions.push("tags only"),
        (false, false) => restrictions.push("never used"),
    }
    if host.scheme == Scheme::HttpsThenHttp {
        restrictions.push("https first");
    }
    restrictions
}

fn host_text(host: &RegistryHost) -> String {
    let restrictions = restrictions(host);
    if restrictions.is_empty() {
        host_url(host)
    } else {
        format!("{} ({})", host_url(host), restrictions.join(", "))
    }
}

fn host_texts(route: &Route) -> Vec<String> {
    match route {
        Route::Hosts(hosts) => hosts.iter().map(host_text).collect(),
        Route::Fails(failure) => vec![format!("the pull fails: {}", escape_control_chars(&failure.reason))],
    }
}

/// Returns the table of a plan.
pub(crate) fn table(routes: &[&RouteChange], width: usize) -> String {
    let name = |change: &RouteChange| escape_control_chars(&change.registry.to_string());
    let longest = routes
        .iter()
        .map(|change| name(change).chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for change in routes {
        let pad = " ".repeat(longest - name(change).chars().count());
        let indent = longest + 6;
        let row = |label: &str, route: &Route| match route {
            Route::Hosts(_) => join_hosts(&host_texts(route), indent + label.len(), width),
            // The plan's notes have the reason.
            Route::Fails(failure) if change.differs() => format!("the pull fails{}", place_suffix(failure)),
            Route::Fails(_) => host_texts(route).concat(),
        };
        if change.differs() {
            let mark = paint(WARNING, format!("~ {}", name(change)));
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
            if !change.policy_keys.is_empty() {
                let keys: Vec<_> = change.policy_keys.iter().map(|key| format!("`{key}`")).collect();
                push_line(
                    &mut out,
                    format_args!("{}requested by {}\n", " ".repeat(indent), keys.join(", ")),
                );
            }
        } else {
            push_line(
                &mut out,
                format_args!("  = {}{pad}  {}\n", paint(TITLE, name(change)), row("", &change.after)),
            );
        }
        for detail in details(&change.after, indent, width) {
            out.push_str(&detail);
        }
    }
    out
}

fn place_suffix(failure: &Failure) -> String {
    let place = failure.place.as_ref();
    place
        .map(|place| format!(" ({})", escape_control_chars(&place.to_string())))
        .unwrap_or_default()
}

/// Puts hosts on one line, or one per line where the line would be too long.
fn join_hosts(hosts: &[String], indent: usize, width: usize) -> String {
    let line = hosts.join(ARROW);
    if indent + line.chars().count() <= width {
        return line;
    }
    hosts.join(&format!("\n{}→ ", " ".repeat(indent)))
}

/// Returns lines about the hosts whose requests carry more than a URL. A route with one host does not repeat its URL.
fn details(route: &Route, indent: usize, width: usize) -> Vec<String> {
    let hosts = route.hosts();
    let detail = |host: &RegistryHost| {
        let options = host_options(host);
        if options.is_empty() {
            return None;
        }
        let options = options.join(", ");
        let text = if hosts.len() == 1 {
            options
        } else {
            format!("{}: {options}", host_url(host))
        };
        Some(crate::render::wrap(
            &format!("{}with ", " ".repeat(indent)),
            &text,
            width,
        ))
    };
    hosts.iter().filter_map(detail).collect()
}

/// Returns TLS settings, the names of headers, the owner of credentials, and the time for a connection.
pub(crate) fn host_options(host: &RegistryHost) -> Vec<String> {
    let mut options = tls_options(&host.tls);
    let names: Vec<_> = host.headers.names().map(escape_control_chars).collect();
    if !names.is_empty() {
        options.push(format!("header {}", names.join(", ")));
    }
    if let Some(key) = &host.credentials {
        options.push(format!(
            "credentials of configs.\"{}\".auth",
            escape_control_chars(&redact::free_text(key))
        ));
    }
    if let Some(timeout) = host.dial_timeout {
        options.push(format!("connection timeout {timeout:?}"));
    }
    options
}

fn tls_options(tls: &Tls) -> Vec<String> {
    let Tls {
        skip_verify,
        ca,
        client,
    } = tls;
    let mut options: Vec<String> = ca
        .iter()
        .map(|path| format!("CA {}", escape_control_chars(path)))
        .collect();
    options.extend(
        client
            .iter()
            .map(|(certificate, _)| format!("client certificate {}", escape_control_chars(certificate))),
    );
    if *skip_verify {
        options.push("no verification of the certificate".to_owned());
    }
    options
}

/// Returns the routes of a refusal: those that would change without a request.
pub(crate) fn refused(routes: &[RouteChange], width: usize) -> String {
    let mut out = String::new();
    for change in routes {
        push_line(
            &mut out,
            format_args!(
                "    {}\n",
                paint(TITLE, escape_control_chars(&change.registry.to_string()))
            ),
        );
        for (label, route) in [("required", &change.before), ("planned ", &change.after)] {
            let indent = 8 + label.len();
            push_line(
                &mut out,
                format_args!("      {label}  {}\n", join_hosts(&host_texts(route), indent, width)),
            );
            for detail in details(route, indent, width) {
                out.push_str(&detail);
            }
        }
    }
    out
}

/// Returns the hosts that containerd contacted in a sandbox, one registry per line.
pub(crate) fn rehearsed(rehearsed: &RehearsalResult) -> String {
    let rows = rehearsed.rows();
    let name = |row: &RouteComparison<'_>| match row.probe.reference {
        ReferenceKind::Tag => escape_control_chars(&row.probe.registry.to_string()),
        ReferenceKind::Digest => format!("{} by digest", escape_control_chars(&row.probe.registry.to_string())),
    };
    let hosts = |requests: &[ObservedRequest]| {
        let hosts: Vec<String> = requests
            .iter()
            .map(|host| escape_control_chars(&redact::free_text(&host.to_string())))
            .collect();
        if hosts.is_empty() {
            return "none".to_owned();
        }
        name_unnamed_host(&hosts.join(ARROW))
    };
    let longest = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        let pad = " ".repeat(longest - name(row).chars().count());
        if row.before == row.after {
            push_line(&mut out, format_args!("  = {}{pad}  {}\n", name(row), hosts(row.after)));
            continue;
        }
        push_line(
            &mut out,
            format_args!("  ~ {}{pad}  before  {}\n", name(row), hosts(row.before)),
        );
        push_line(
            &mut out,
            format_args!("    {}  after   {}\n", " ".repeat(longest), hosts(row.after)),
        );
    }
    out
}
