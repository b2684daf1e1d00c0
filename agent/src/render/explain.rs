//! The route of one image, host by host.

use crate::render::routes::told;
use crate::render::{DIM, MARK, TITLE, WIDTH, escape_control_chars, paint, push_line, wrap};
use crate::results::explain::ExplainResult;
use crate::wording::{first_request, host_url, origin_text};
use mirrorshift_containerd::{Image, RegistryHost, Route};

/// The text of `explain`.
pub(crate) fn text(explained: &ExplainResult) -> String {
    let ExplainResult { image, version, route } = explained;
    let mut out = format!("{} on containerd {version}\n", paint(TITLE, image));
    match route {
        Route::Fails(failure) => {
            let place = failure
                .place
                .as_ref()
                .map(|place| format!(" ({place})"))
                .unwrap_or_default();
            out.push_str(&wrap(
                "\n  nobody is asked: ",
                &escape_control_chars(&format!("{}{place}", failure.reason)),
                WIDTH,
            ));
            out.push_str("  The pull fails before a request is made.\n");
        }
        Route::Hosts(asks) => {
            for (number, ask) in asks.iter().enumerate() {
                out.push('\n');
                out.push_str(&host(number + 1, ask, image));
            }
            let last = "When a host does not have it, refuses or cannot be reached, the next is asked; after the last one \
                        the pull fails.";
            push_line(&mut out, format_args!("\n{}\n", paint(DIM, last)));
        }
    }
    out
}

fn host(number: usize, ask: &RegistryHost, image: &Image) -> String {
    let mut out = format!("{:>3}  {}\n", number, paint(TITLE, host_url(ask)));
    // A request is not broken into lines: it is there to be copied.
    if let Some(request) = first_request(ask, image) {
        push_line(&mut out, format_args!("     {:<12}  {request}\n", "is asked"));
    } else {
        let text = "nothing for a tag, only for the layers of what it resolved to elsewhere";
        out.push_str(&line("is asked", text));
    }
    out.push_str(&line("may", &capabilities(ask).join(", ")));
    for text in told(ask) {
        out.push_str(&line("with", &text));
    }
    let rule = origin_text(ask, &image.registry);
    let because = match &ask.why.place {
        Some(place) => format!("{rule} {}", paint(MARK, escape_control_chars(&format!("({place})")))),
        None => rule,
    };
    out.push_str(&line("because of", &because));
    out
}

fn line(label: &str, text: &str) -> String {
    wrap(&format!("     {label:<12}  "), text, WIDTH + 40)
}

/// What the host may be asked for, by containerd's names.
pub(crate) fn capabilities(ask: &RegistryHost) -> Vec<&'static str> {
    let named = [("pull", ask.pulls), ("resolve", ask.resolves)];
    let named: Vec<_> = named.iter().filter(|(_, may)| *may).map(|(name, _)| *name).collect();
    if named.is_empty() { vec!["nothing"] } else { named }
}
