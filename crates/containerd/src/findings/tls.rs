//! Findings about `configs.<host>.tls`: files that cannot be used, and settings without effect.

use crate::certs;
use crate::findings::catalogue::FindingId;
use crate::findings::finding::{FinderInput, FindingSink};
use crate::mirrors::Endpoint;
use crate::redact::written_url;
use crate::registry::TlsConfig;
use crate::route::{Scheme, SourceLocation};

const FAILS: &str = "Every pull whose route reaches this host fails; containerd does not try another host.";

pub(super) fn find(input: &FinderInput<'_>, found: &mut FindingSink) {
    for (host, config) in &input.registry.configs {
        if let Some(place) = &config.ignored_tls {
            ignored(host, place, found);
        }
        if let Some(tls) = &config.tls {
            files(input, host, tls, found);
            on_http(input, host, tls, found);
        }
    }
}

fn ignored(host: &str, place: &SourceLocation, found: &mut FindingSink) {
    found.add(
        FindingId::TlsIgnored,
        Some(place.clone()),
        format!("`configs.\"{}\".tls` is set.", written_url(host)),
        "containerd 2.0 and newer ignore the key. A host with a certificate of a private CA fails with `x509: certificate \
         signed by unknown authority`, and the pull continues with the next host.",
        "Write `ca`, `client` and `skip_verify` in the hosts.toml of each registry that uses the host.",
    );
}

fn files(input: &FinderInput<'_>, host: &str, tls: &TlsConfig, found: &mut FindingSink) {
    let at = |key: &str| {
        input
            .place(&["configs", host, "tls", key])
            .or_else(|| tls.place.clone())
    };
    let host = written_url(host);
    let named = [
        ("ca_file", &tls.ca_file),
        ("cert_file", &tls.cert_file),
        ("key_file", &tls.key_file),
    ];
    let unreadable = |path: &str| !path.is_empty() && input.tree.file(path).is_none();
    for (key, path) in named.into_iter().filter(|(_, path)| unreadable(path)) {
        let why = if path.starts_with('/') {
            "cannot be read"
        } else {
            "is relative, so the file that it means is unknown"
        };
        found.add(
            FindingId::TlsFileUnreadable,
            at(key),
            format!("`{key}` of `configs.\"{host}\".tls` names `{path}`, which {why}."),
            FAILS,
            "Create the file, correct the path, or remove the setting.",
        );
    }
    if input
        .tree
        .file(&tls.ca_file)
        .is_some_and(|bytes| !certs::holds_certificate(bytes))
    {
        found.add(
            FindingId::CaWithoutCertificate,
            at("ca_file"),
            format!(
                "`ca_file` of `configs.\"{host}\".tls` names `{}`, which contains no certificate.",
                tls.ca_file
            ),
            "containerd ignores it here. As `ca` in a hosts.toml the same file makes every pull fail.",
            "Write the certificates as PEM, or remove the setting.",
        );
    }
    let why = match (tls.cert_file.is_empty(), tls.key_file.is_empty()) {
        (true, true) => return,
        (false, true) => "`cert_file` is set without `key_file`".to_owned(),
        (true, false) => "`key_file` is set without `cert_file`".to_owned(),
        (false, false) => match (input.tree.file(&tls.cert_file), input.tree.file(&tls.key_file)) {
            (Some(certificate), Some(key)) => match certs::check_pair(certificate, key) {
                Ok(()) => return,
                Err(why) => format!("`{}` and `{}` are not a pair: {why}", tls.cert_file, tls.key_file),
            },
            _ => return,
        },
    };
    found.add(
        FindingId::TlsPairUnusable,
        tls.place.clone(),
        format!("In `configs.\"{host}\".tls` {why}."),
        FAILS,
        "Set both a certificate and the key that belongs to it, or remove both settings.",
    );
}

fn on_http(input: &FinderInput<'_>, host: &str, tls: &TlsConfig, found: &mut FindingSink) {
    let endpoints = input.registry.mirrors.iter().flat_map(|mirror| &mirror.endpoints);
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
        format!("`configs.\"{}\".tls` belongs to a host whose endpoint is `http://`.", written_url(host)),
        "containerd uses plain HTTP for this host and ignores these settings. In a hosts.toml they would make newer releases \
         try HTTPS first.",
        "Remove the `tls` table, or write the endpoint with `https://`.",
    );
}
