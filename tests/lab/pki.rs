//! Authorities, certificates and keys that no system knows, and the placeholders by which files name them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};

/// The authorities and client certificates of a lab. Made anew for each lab, so no key is worth stealing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pki {
    /// In the node's system pool; signs the hosts with [`super::Cert::Trusted`].
    pub trusted: Pair,
    /// Known only to files that name it; signs the hosts with [`super::Cert::Private`].
    pub private: Pair,
    /// Signs the client certificates; TLS hosts accept no others.
    pub clients: Pair,
    /// A client certificate, common name `client`.
    pub client: Pair,
    /// Another, common name `other-client`.
    pub other_client: Pair,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// Certificate.
    pub cert: String,
    /// Key.
    pub key: String,
}

impl Pki {
    /// A fresh set.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
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

    /// `text` with `${TRUSTED_CA}`, `${PRIVATE_CA}`, `${CLIENT_CERT}`, `${CLIENT_KEY}`, `${OTHER_CLIENT_CERT}` and
    /// `${OTHER_CLIENT_KEY}` replaced by PEM. Bytes that are not UTF-8 stay as they are.
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

/// A server's certificate for one name or address, signed by `authority` or, without one, by itself.
pub(super) fn server(name: &str, authority: Option<(&str, &Pair)>) -> Result<Pair, rcgen::Error> {
    server_of(&[name], authority)
}

/// The same for several names and addresses, the first of which is its common name.
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

/// A client's certificate: its name, and the group that it is of.
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

/// An authority that signs by this name.
pub(super) fn authority(name: &str) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let cert = authority_params(name).self_signed(&key)?;
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// The authority as a signer again. Its parameters are a function of its name, so only the key has to be read.
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
