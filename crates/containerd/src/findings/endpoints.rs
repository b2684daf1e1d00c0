//! Findings about endpoints that containerd skips, contacts differently from what was intended, or contacts too often.

use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::findings::shown;
use crate::image::Image;
use crate::mirrors::{Endpoint, ignored_url_parts};
use crate::redact::written_url;
use crate::registries::named_registries;
use crate::registry::Mirror;
use crate::route::{Scheme, SourceLocation};
use crate::rules::Rule;

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    for mirror in &input.registry.mirrors {
        for (written, place) in &mirror.endpoints {
            endpoint(input, mirror, written, place, found);
        }
    }
    wildcard(input, found);
}

fn endpoint(input: &FinderInput<'_>, mirror: &Mirror, written: &str, place: &SourceLocation, found: &mut FindingSink) {
    let shown = written_url(written);
    let registry = written_url(&mirror.registry);
    let mut add = |id: FindingId, what: String, effect: &str, remedy: &str| {
        found.add(id, Some(place.clone()), what, effect, remedy);
    };
    let Some(endpoint) = Endpoint::read(written) else {
        add(
            FindingId::EndpointInvalidUrl,
            format!("The endpoint `{shown}` of `{registry}` cannot be read as a URL."),
            "Every pull from this registry fails before containerd tries any host, the registry itself included.",
            "Write it as `http://host:port` or `https://host:port`, or remove it.",
        );
        return;
    };
    let Some(scheme) = endpoint.scheme else {
        add(
            FindingId::EndpointScheme,
            format!("The endpoint `{shown}` of `{registry}` has a scheme other than http and https."),
            "containerd cannot send requests to it and continues with the next host.",
            "Write `http://` or `https://`, or remove the endpoint.",
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
            "containerd does not send it.",
            "Remove it from the URL. Write credentials in `configs.\"host\".auth` or an imagePullSecret.",
        );
    }
    if !written.contains("://") {
        let (assumed, why) = match scheme {
            Scheme::Http => ("http", "it is the node itself"),
            _ => ("https", "it is not the node itself"),
        };
        let effect = format!("containerd uses `{assumed}://`, because {why}. A port does not change that.");
        add(
            FindingId::EndpointWithoutScheme,
            format!("The endpoint `{shown}` of `{registry}` has no scheme."),
            &effect,
            "Write the scheme that the host serves, such as `https://`.",
        );
    }
    path(&endpoint, &shown, &registry, &mut add);
    if endpoint.host.starts_with('[') && input.version.has(Rule::GoTomlOne) {
        add(
            FindingId::EndpointIpv6,
            format!("The endpoint `{shown}` of `{registry}` is an IPv6 address."),
            "It works here. containerd 1.x cannot read it as a `[host]` of a hosts.toml, so `migrate` does not move it.",
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
            "containerd adds this host at the end by itself, so it tries the host twice.",
            "Remove it if it is the last endpoint.",
        ),
        "docker.io" => add(
            FindingId::EndpointHidesUpstream,
            format!("The endpoint `{shown}` of `docker.io` names the registry, not the host that serves it."),
            "containerd tries docker.io itself, and does not add registry-1.docker.io at the end.",
            "Remove it: containerd then tries Docker Hub last.",
        ),
        _ => {}
    }
}

fn path(endpoint: &Endpoint, shown: &str, registry: &str, add: &mut dyn FnMut(FindingId, String, &str, &str)) {
    if endpoint.path.is_empty() {
        add(
            FindingId::EndpointLoneSlash,
            format!("The endpoint `{shown}` of `{registry}` ends with a single slash."),
            "containerd takes `/` for the path of the API and requests `/<repository>/manifests/…`, without `/v2`.",
            "Remove the slash: without a path containerd adds `/v2`.",
        );
    } else if !endpoint.path.split('/').any(|part| part == "v2") {
        let effect = format!(
            "containerd uses the path unchanged and requests `{}/<repository>/manifests/…`. A registry whose API is at `/v2` \
             cannot answer that.",
            endpoint.path
        );
        add(
            FindingId::EndpointPathWithoutV2,
            format!("The path of the endpoint `{shown}` of `{registry}` has no `/v2`."),
            &effect,
            "For a project of Harbor, Nexus or Artifactory write `https://host/v2/project`. If pulls from it work, change nothing.",
        );
    }
}

/// Reports a wildcard, which suits a proxy of every registry, but not a pull-through cache of one registry. The files do not
/// show which of them the host is.
fn wildcard(input: &FinderInput<'_>, found: &mut FindingSink) {
    let Some(mirror) = input.registry.mirror("*") else {
        return;
    };
    let hosts: Vec<String> = mirror.hosts().collect();
    let Some((first, place)) = mirror.endpoints.first() else {
        return;
    };
    let mut covered: Vec<String> = named_registries(input.config, input.tree);
    covered.extend(pause_registry(input));
    covered.extend(["docker.io".to_owned()]);
    covered.sort();
    covered.dedup();
    covered.retain(|registry| input.registry.mirror(registry).is_none() && !hosts.contains(registry));
    // A mirror's host is itself a registry only if an image names it.
    let endpoints: Vec<String> = input.registry.mirrors.iter().flat_map(Mirror::hosts).collect();
    covered.retain(|registry| !endpoints.contains(registry) && registry != "registry-1.docker.io");
    let named = match covered.as_slice() {
        [] => String::new(),
        covered => format!(
            " They include {}.",
            shown::list(&shown::quoted(covered.iter().map(String::as_str)), 12)
        ),
    };
    found.add(
        FindingId::WildcardSingleUpstream,
        Some(place.clone()),
        format!(
            "`mirrors.\"*\"` sends every registry without its own entry to `{}`.{named}",
            written_url(first)
        ),
        "If that host is a pull-through cache of one registry, it gets requests for images of every other registry too. It \
         answers `not found`, which delays each pull, or serves an image of the same name from the wrong registry. A Docker \
         Registry instance can proxy only one upstream.",
        "If it is such a cache, use it only for its own registry, and run a separate cache for each other one: `mirrorshift plan \
         --wildcard docker.io --mirror ghcr.io=http://cache:5010`.",
    );
}

/// Returns the registry of the pause image, which containerd pulls for every pod.
fn pause_registry(input: &FinderInput<'_>) -> Option<String> {
    let document = &input.config.document;
    let live = document.live()?;
    let pinned = || document.field(document.field(live, "pinned_images")?.as_table()?, "sandbox");
    let image = document.field(live, "sandbox_image").or_else(pinned)?.as_str()?;
    Some(image.parse::<Image>().ok()?.registry)
}
