//! `configs.<host>.tls`: files that cannot be used, and settings without effect.

use crate::certs;
use crate::findings::catalogue::FindingId;
use crate::findings::{FinderInput, FindingSink, shown};
use crate::mirrors::Endpoint;
use crate::registry::TlsConfig;
use crate::route::{Scheme, SourceLocation};

const FAILS: &str = "Every pull that has this host on its way fails, and no other host is asked.";

pub(super) fn find(look: &FinderInput<'_>, found: &mut FindingSink) {
    for (host, config) in &look.registry.configs {
        if let Some(place) = &config.ignored_tls {
            ignored(host, place, found);
        }
        if let Some(tls) = &config.tls {
            files(look, host, tls, found);
            on_http(look, host, tls, found);
        }
    }
}

fn ignored(host: &str, place: &SourceLocation, found: &mut FindingSink) {
    found.add(
        FindingId::TlsIgnored,
        Some(place.clone()),
        format!("`configs.\"{}\".tls` is set.", shown::url(host)),
        "containerd 2.0 and newer do not know the key: a host with a certificate of its own fails with `x509: certificate \
         signed by unknown authority`, and the pull goes on to the next host.",
        "Write `ca`, `client` and `skip_verify` in the hosts.toml of each registry that uses the host.",
    );
}

fn files(look: &FinderInput<'_>, host: &str, tls: &TlsConfig, found: &mut FindingSink) {
    let at = |key: &str| look.place(&["configs", host, "tls", key]).or_else(|| tls.place.clone());
    let host = shown::url(host);
    let named = [
        ("ca_file", &tls.ca_file),
        ("cert_file", &tls.cert_file),
        ("key_file", &tls.key_file),
    ];
    let unreadable = |path: &str| !path.is_empty() && look.tree.file(path).is_none();
    for (key, path) in named.into_iter().filter(|(_, path)| unreadable(path)) {
        let why = if path.starts_with('/') {
            "cannot be read"
        } else {
            "is relative, so nobody can tell which file is meant"
        };
        found.add(
            FindingId::TlsFileUnreadable,
            at(key),
            format!("`{key}` of `configs.\"{host}\".tls` names `{path}`, which {why}."),
            FAILS,
            "Put the file there, correct the path, or take the setting out.",
        );
    }
    if look
        .tree
        .file(&tls.ca_file)
        .is_some_and(|bytes| !certs::holds_certificate(bytes))
    {
        found.add(
            FindingId::CaWithoutCertificate,
            at("ca_file"),
            format!(
                "`ca_file` of `configs.\"{host}\".tls` names `{}`, which holds no certificate.",
                tls.ca_file
            ),
            "containerd ignores it here. The same file as `ca` in a hosts.toml fails every pull.",
            "Write the certificates as PEM, or take the setting out.",
        );
    }
    let why = match (tls.cert_file.is_empty(), tls.key_file.is_empty()) {
        (true, true) => return,
        (false, true) => "`cert_file` is set without `key_file`".to_owned(),
        (true, false) => "`key_file` is set without `cert_file`".to_owned(),
        (false, false) => match (look.tree.file(&tls.cert_file), look.tree.file(&tls.key_file)) {
            (Some(certificate), Some(key)) => match certs::check_pair(certificate, key) {
                Ok(()) => return,
                Err(why) => format!("`{}` and `{}` are no pair: {why}", tls.cert_file, tls.key_file),
            },
            _ => return,
        },
    };
    found.add(
        FindingId::TlsPairUnusable,
        tls.place.clone(),
        format!("In `configs.\"{host}\".tls` {why}."),
        FAILS,
        "Name a certificate and the key that belongs to it, or neither.",
    );
}

fn on_http(look: &FinderInput<'_>, host: &str, tls: &TlsConfig, found: &mut FindingSink) {
    let endpoints = look.registry.mirrors.iter().flat_map(|mirror| &mirror.endpoints);
    let mut schemes = endpoints
        .filter_map(|(written, _)| Endpoint::read(written))
        .filter(|endpoint| endpoint.host == host)
        .filter_map(|endpoint| endpoint.scheme)
        .peekable();
    if schemes.peek().is_none() || schemes.any(|scheme| scheme != Scheme::Http) {
        return;
    }
    found.add(
        FindingId::TlsOnHttp,
        tls.place.clone(),
        format!("`configs.\"{}\".tls` belongs to a host whose endpoint is `http://`.", shown::url(host)),
        "containerd speaks plain HTTP to it and uses none of these settings. In a hosts.toml they would make newer releases \
         try HTTPS first.",
        "Take the `tls` table out, or write the endpoint with `https://`.",
    );
}
