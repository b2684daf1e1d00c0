//! The certificates of TLS hosts, and the client certificates that they accept.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::lab::pki::{Pair, Pki, server};
use crate::lab::scene::Cert;

/// Returns the configuration of the host `name`. Every host requests a client certificate, so that a needless
/// certificate is recorded; no host requires one, so that a rejection is an answer that can be recorded.
pub(super) fn config(name: &str, cert: Cert, pki: &Pki) -> io::Result<Arc<ServerConfig>> {
    let pair = match cert {
        Cert::Trusted => server(name, Some(("lab trusted", &pki.trusted))),
        Cert::Private => server(name, Some(("lab private", &pki.private))),
        Cert::SelfSigned => server(name, None),
    }
    .map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add(der(&pki.clients.cert)?).map_err(io::Error::other)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(io::Error::other)?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&pair.cert)?], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// Returns the configuration of a server that requests no client certificate.
pub(super) fn plain(pair: &Pair) -> io::Result<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(io::Error::other)?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![der(&pair.cert)?], key)
        .map_err(io::Error::other)
}

/// The client certificates of a lab, with their common names.
pub(super) fn clients(pki: &Pki) -> io::Result<Vec<(CertificateDer<'static>, String)>> {
    Ok(vec![
        (der(&pki.client.cert)?, "client".into()),
        (der(&pki.other_client.cert)?, "other-client".into()),
    ])
}

fn der(pem: &str) -> io::Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)
}
