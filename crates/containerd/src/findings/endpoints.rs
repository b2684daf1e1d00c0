//! Who mirrors send pulls to: endpoints that are skipped, asked in another way than meant, or asked for too much.

use crate::findings::catalogue::FindingId;
use crate::findings::{FinderInput, FindingSink, shown};
use crate::image::Image;
use crate::mirrors::{Endpoint, ignored_url_parts};
use crate::registries::named_registries;
use crate::registry::Mirror;
use crate::route::{Scheme, SourceLocation};
use crate::rules::Rule;

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    for mirror in &look.registry.mirrors {
        for (written, place) in &mirror.endpoints {
            endpoint(look, mirror, written, place, found);
        }
    }
    wildcard(look, found);
}

fn endpoint(look: &FinderInput<'_>, mirror: &Mirror, written: &str, place: &SourceLocation, found: &mut FindingSink) {
    let shown = shown::url(written);
    let registry = shown::url(&mirror.registry);
    let mut add = |id: FindingId, what: String, effect: &str, remedy: &str| {
        found.add(id, Some(place.clone()), what, effect, remedy);
    };
    let Some(endpoint) = Endpoint::read(written) else {
        add(
            FindingId::EndpointNoUrl,
            format!("The endpoint `{shown}` of `{registry}` cannot be read as a URL."),
            "Every pull from this registry fails before anybody is asked, the other endpoints and the registry itself \
             included.",
            "Write it as `http://host:port` or `https://host:port`, or take it out.",
        );
        return;
    };
    let Some(scheme) = endpoint.scheme else {
        add(
            FindingId::EndpointScheme,
            format!("The endpoint `{shown}` of `{registry}` has another scheme than http and https."),
            "containerd cannot make a request to it and goes on to the next host.",
            "Write `http://` or `https://`, or take it out.",
        );
        return;
    };
    let extras = ignored_url_parts(written);
    if !extras.is_empty() {
        let extras: Vec<String> = extras.into_iter().map(str::to_owned).collect();
        add(
            FindingId::EndpointExtras,
            format!(
                "The endpoint `{shown}` of `{registry}` has {}.",
                shown::list(&extras, 3)
            ),
            "containerd leaves it out of its requests.",
            "Take it out. Credentials belong in `configs.\"host\".auth` or an imagePullSecret.",
        );
    }
    if !written.contains("://") {
        let (assumed, why) = match scheme {
            Scheme::Http => ("http", "it is the node itself"),
            _ => ("https", "it is not the node itself"),
        };
        let effect =
            format!("containerd takes it as `{assumed}://`, because {why}; a port changes nothing about that.");
        add(
            FindingId::EndpointWithoutScheme,
            format!("The endpoint `{shown}` of `{registry}` has no scheme."),
            &effect,
            "Write the scheme that the host speaks.",
        );
    }
    path(&endpoint, &shown, &registry, &mut add);
    if endpoint.host.starts_with('[') && look.version.has(Rule::GoTomlOne) {
        add(
            FindingId::EndpointIpv6,
            format!("The endpoint `{shown}` of `{registry}` is an IPv6 address."),
            "It works here. In a hosts.toml containerd 1.x cannot read it as a `[host]`, so it cannot be moved there.",
            "Give the host a name, or use its IPv4 address.",
        );
    }
    if mirror.registry != "docker.io" {
        return;
    }
    match endpoint.host.as_str() {
        "registry-1.docker.io" => add(
            FindingId::EndpointHubTwice,
            format!("The endpoint `{shown}` of `docker.io` is Docker Hub's own host."),
            "containerd adds it at the end by itself, so it is asked twice for what it does not have.",
            "Take it out when it is the last endpoint.",
        ),
        "docker.io" => add(
            FindingId::EndpointHidesUpstream,
            format!("The endpoint `{shown}` of `docker.io` names the registry, and not the host that serves it."),
            "containerd asks docker.io as it stands, and no longer adds registry-1.docker.io at the end.",
            "Take it out: Docker Hub is asked last without it.",
        ),
        _ => {}
    }
}

fn path(endpoint: &Endpoint, shown: &str, registry: &str, add: &mut dyn FnMut(FindingId, String, &str, &str)) {
    if endpoint.path.is_empty() {
        add(
            FindingId::EndpointLoneSlash,
            format!("The endpoint `{shown}` of `{registry}` ends in a lone slash."),
            "containerd takes `/` for the whole path of the API and asks for `/<repository>/manifests/…`, without `/v2`.",
            "Take the slash out: without a path containerd asks below `/v2`.",
        );
    } else if !endpoint.path.split('/').any(|part| part == "v2") {
        let effect = format!(
            "containerd uses the path as it stands and asks for `{}/<repository>/manifests/…`. A registry whose API is at \
             `/v2` could never have answered that.",
            endpoint.path
        );
        add(
            FindingId::EndpointPathWithoutV2,
            format!("The path of the endpoint `{shown}` of `{registry}` has no `/v2`."),
            &effect,
            "For a project of Harbor, Nexus or Artifactory write `https://host/v2/project`; when it works as it is, leave it.",
        );
    }
}

/// A wildcard is fine for a proxy that knows every registry, and wrong for a pull-through cache, which knows one. Files do
/// not tell which it is.
fn wildcard(look: &FinderInput<'_>, found: &mut FindingSink) {
    let Some(mirror) = look.registry.mirror("*") else {
        return;
    };
    let hosts: Vec<String> = mirror.hosts().collect();
    let Some((first, place)) = mirror.endpoints.first() else {
        return;
    };
    let mut under: Vec<String> = named_registries(look.config, look.tree);
    under.extend(pause_registry(look));
    under.extend(["docker.io".to_owned()]);
    under.sort();
    under.dedup();
    under.retain(|registry| look.registry.mirror(registry).is_none() && !hosts.contains(registry));
    // API hosts of mirrors are asked by their own name only when an image is named by them.
    let endpoints: Vec<String> = look.registry.mirrors.iter().flat_map(Mirror::hosts).collect();
    under.retain(|registry| !endpoints.contains(registry) && registry != "registry-1.docker.io");
    let named = match under.as_slice() {
        [] => String::new(),
        under => format!(
            " Among them: {}.",
            shown::list(&shown::quoted(under.iter().map(String::as_str)), 12)
        ),
    };
    found.add(
        FindingId::WildcardSingleUpstream,
        Some(place.clone()),
        format!(
            "`mirrors.\"*\"` sends every registry without an entry of its own to `{}`.{named}",
            shown::url(first)
        ),
        "If that host is a pull-through cache for one registry, it answers for images of every other registry too: with \
         `not found` and a detour for each pull, or with an image of the same name from the wrong registry. Docker's \
         registry can proxy one upstream an instance.",
        "If it is such a cache, send only its own registry there and give each other registry a cache of its own: `mirrorshift \
         plan --wildcard docker.io --mirror ghcr.io=http://cache:5010`.",
    );
}

/// The registry of the pause image, which is pulled for every pod.
fn pause_registry(look: &FinderInput<'_>) -> Option<String> {
    let document = &look.config.document;
    let live = document.live()?;
    let pinned = || document.field(document.field(live, "pinned_images")?.as_table()?, "sandbox");
    let image = document.field(live, "sandbox_image").or_else(pinned)?.as_str()?;
    Some(image.parse::<Image>().ok()?.registry)
}
