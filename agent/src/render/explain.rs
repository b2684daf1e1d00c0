//! The text of `explain`: the route of an image host by host, or the documentation of a finding.

use crate::render::routes::host_options;
use crate::render::{DIM, MARK, TITLE, escape_control_chars, paint, push_line, source_files, wrap};
use crate::results::explain::{ExplainResult, FindingHelp};
use crate::wording::{first_request, host_url, origin_text};
use mirrorshift_containerd::{Image, RegistryHost, Route};

/// Returns the route of an image.
pub(crate) fn text(explained: &ExplainResult, is_live: bool, verbose: bool, width: usize) -> String {
    let ExplainResult {
        image,
        version,
        route,
        sources,
    } = explained;
    let mut out = format!("{} on containerd {version}\n", paint(TITLE, image));
    out.push_str(&source_files::text(sources, Some(version), is_live, verbose, width));
    match route {
        Route::Fails(failure) => {
            let place = failure
                .place
                .as_ref()
                .map(|place| format!(" ({place})"))
                .unwrap_or_default();
            out.push('\n');
            out.push_str(&wrap(
                "  the pull fails: ",
                &escape_control_chars(&format!("{}{place}", failure.reason)),
                width,
            ));
            out.push_str("  containerd sends no request.\n");
        }
        Route::Hosts(hosts) => {
            for (number, host) in hosts.iter().enumerate() {
                out.push('\n');
                out.push_str(&host_text(number + 1, host, image, width));
            }
            let order = "containerd tries these hosts in order. If all of them fail, the pull fails.";
            out.push('\n');
            for line in wrap("", order, width).lines() {
                push_line(&mut out, format_args!("{}\n", paint(DIM, line)));
            }
        }
    }
    out
}

fn host_text(number: usize, host: &RegistryHost, image: &Image, width: usize) -> String {
    let mut out = format!("{:>3}  {}\n", number, paint(TITLE, host_url(host)));
    // A request is not wrapped, so that it can be copied.
    if let Some(request) = first_request(host, image) {
        push_line(&mut out, format_args!("     {:<12}  {request}\n", "request"));
    } else {
        let text = "none for a tag, only for the layers after another host resolved the tag";
        out.push_str(&row("request", text, width));
    }
    out.push_str(&row("capabilities", &capabilities(host).join(", "), width));
    for text in host_options(host) {
        out.push_str(&row("with", &text, width));
    }
    let rule = origin_text(host, &image.registry);
    let text = match &host.provenance.place {
        Some(place) => format!("{rule} ({})", escape_control_chars(&place.to_string())),
        None => rule,
    };
    out.push_str(&row("set by", &text, width));
    out
}

fn row(label: &str, text: &str, width: usize) -> String {
    wrap(&format!("     {label:<12}  "), text, width)
}

/// Returns the capabilities of a host by containerd's names.
fn capabilities(host: &RegistryHost) -> Vec<&'static str> {
    let named = [("pull", host.pulls), ("resolve", host.resolves)];
    let named: Vec<_> = named.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if named.is_empty() { vec!["none"] } else { named }
}

/// Returns the documentation of a finding.
pub(crate) fn finding(help: &FindingHelp, width: usize) -> String {
    let mut out = format!("{}\n", paint(TITLE, help.id.as_str()));
    for paragraph in help.text.split("\n\n") {
        out.push('\n');
        if paragraph.starts_with("    ") {
            // Code is not wrapped.
            push_line(&mut out, format_args!("{}\n", paint(MARK, paragraph.trim_end())));
            continue;
        }
        out.push_str(&wrap("", &paragraph.replace("**", ""), width));
    }
    out
}
