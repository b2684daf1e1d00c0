//! Certificates and keys as Go reads them, for `configs.<host>.tls` and hosts.toml.
//!
//! The checks do not test that a key belongs to its certificate, and do not reject what only newer Go releases reject, such
//! as negative serial numbers.

use crate::pem::{Block, blocks};
use der::{Decode, Reader};
use x509_cert::certificate::{CertificateInner, Raw};

/// Returns true if the file contains a certificate that Go trusts (`AppendCertsFromPEM`).
pub(crate) fn holds_certificate(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    blocks(&text)
        .iter()
        .any(|block| !block.has_headers && is_certificate(block))
}

/// The fault of a client certificate and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairFault {
    /// The first certificate cannot be decoded, or there is none.
    #[error("there is no certificate")]
    NoCertificate,
    /// There is no private key.
    #[error("there is no private key")]
    NoKey,
    /// The private key is encrypted or damaged.
    #[error("the private key is encrypted or damaged")]
    BadKey,
}

/// Checks a client certificate and its key (`tls.X509KeyPair`).
pub(crate) fn check_pair(certificate: &[u8], key: &[u8]) -> Result<(), PairFault> {
    match blocks(&String::from_utf8_lossy(certificate))
        .iter()
        .find(|block| block.kind == "CERTIFICATE")
    {
        Some(first) if is_certificate(first) => {}
        _ => return Err(PairFault::NoCertificate),
    }
    let text = String::from_utf8_lossy(key);
    let keys = blocks(&text);
    let is_key = |block: &&Block<'_>| block.kind == "PRIVATE KEY" || block.kind.ends_with(" PRIVATE KEY");
    match keys.iter().find(is_key) {
        Some(first) if first.kind == "ENCRYPTED PRIVATE KEY" || !is_sequence(&first.content) => Err(PairFault::BadKey),
        Some(_) => Ok(()),
        None => Err(PairFault::NoKey),
    }
}

fn is_certificate(block: &Block<'_>) -> bool {
    block.kind == "CERTIFICATE" && CertificateInner::<Raw>::from_der(&block.content).is_ok()
}

fn is_sequence(der: &[u8]) -> bool {
    let whole = || {
        let mut reader = der::SliceReader::new(der)?;
        let header = der::Header::decode(&mut reader)?;
        Ok::<_, der::Error>(header.tag() == der::Tag::Sequence && reader.remaining_len() == header.length())
    };
    whole().unwrap_or(false)
}
