//! Authorities, certificates and keys that no system trusts, and the placeholders with which files refer to them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

/// The authorities and client certificates of a lab. They are new for each lab, so the keys need no protection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pki {
    /// In the node's system pool; signs hosts with [`super::Cert::Trusted`].
    pub trusted: Pair,
    /// Known only to files that name it; signs hosts with [`super::Cert::Private`].
    pub private: Pair,
    /// Signs the client certificates; TLS hosts accept no others.
    pub clients: Pair,
    /// The client certificate with common name `client`.
    pub client: Pair,
    /// Another client certificate, with common name `other-client`.
    pub other_client: Pair,
}

/// A certificate and its key in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pki {
    /// Creates new certificates.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let clients = authority("lab clients")?;
        Ok(Self {
            trusted: authority("lab trusted")?,
            private: authority("lab private")?,
            client: client("client", None, ("lab clients", &clients))?,
            other_client: client("other-client", None, ("lab clients", &clients))?,
            clients,
        })
    }

    /// Returns `text` with `${TRUSTED_CA}`, `${PRIVATE_CA}`, `${CLIENT_CERT}`, `${CLIENT_KEY}`,
    /// `${OTHER_CLIENT_CERT}` and `${OTHER_CLIENT_KEY}` replaced by PEM. Bytes that are not UTF-8 are unchanged.
    pub fn fill(&self, text: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(text) else {
            return text.to_vec();
        };
        [
            ("${TRUSTED_CA}", &self.trusted.cert),
            ("${PRIVATE_CA}", &self.private.cert),
            ("${CLIENT_CERT}", &self.client.cert),
            ("${CLIENT_KEY}", &self.client.key),
            ("${OTHER_CLIENT_CERT}", &self.other_client.cert),
            ("${OTHER_CLIENT_KEY}", &self.other_client.key),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, pem)| text.replace(name, pem))
        .into_bytes()
    }
}

/// Creates a server certificate for one name or address, signed by `authority`, or self-signed without one.
pub(super) fn server(name: &str, authority: Option<(&str, &Pair)>) -> Result<Pair, rcgen::Error> {
    server_of(&[name], authority)
}

/// Like [`server`], for several names and addresses; the first is the common name.
pub(super) fn server_of(names: &[&str], authority: Option<(&str, &Pair)>) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    params
        .distinguished_name
        .push(DnType::CommonName, names.first().copied().unwrap_or_default());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = match authority {
        Some((common_name, pair)) => params.signed_by(&key, &issuer(common_name, pair)?)?,
        None => params.self_signed(&key)?,
    };
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// Creates a client certificate for a user in a group.
pub(super) fn client(
    name: &str,
    group: Option<&str>,
    (common_name, authority): (&str, &Pair),
) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &issuer(common_name, authority)?)?;
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// Creates an authority with this name.
pub(super) fn authority(name: &str) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let cert = authority_params(name).self_signed(&key)?;
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// Returns the authority as a signer. Its parameters are a function of its name, so only the key is parsed.
fn issuer(name: &str, pair: &Pair) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
    Ok(Issuer::new(authority_params(name), KeyPair::from_pem(&pair.key)?))
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
