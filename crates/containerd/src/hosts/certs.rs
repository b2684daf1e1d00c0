//! Certificate files: those that a folder holds in Docker's layout, and whether the ones that are named can be used.
//!
//! One bad file of any host ends the whole pull, so they are looked at as Go does. PEM is read block by block, one bad
//! block not spoiling the others. Whether a key belongs to its certificate is not checked.

use super::fields::Host;
use super::lookup::Look;
use super::url::join;
use crate::tree::Entry;
use der::{Decode, Reader};
use x509_cert::certificate::{CertificateInner, Raw};

/// What containerd makes of a folder without a hosts.toml that it can use: `*.crt` are trusted, `*.cert` with the `.key`
/// of the same name are shown, at the registry itself.
pub(super) fn of_folder(look: &Look<'_>, folder: &str, names: &[String]) -> Result<Host, String> {
    let mut host = Host::default();
    for name in names {
        let path = join(folder, name);
        let (stem, is_ca) = match name.rsplit_once('.') {
            Some((stem, "crt")) => (stem, true),
            Some((stem, "cert")) => (stem, false),
            _ => continue,
        };
        if matches!(look.at(&path), Entry::Folder(_)) {
            continue;
        }
        if is_ca {
            host.ca.get_or_insert_default().push(path);
            continue;
        }
        let key = join(folder, &format!("{stem}.key"));
        let key = match look.at(&key) {
            Entry::Absent => None,
            Entry::Unusable(what) => return Err(format!("the key file `{key}` {what}")),
            Entry::File(_) | Entry::Folder(_) => Some(key),
        };
        host.client.push((path, key));
    }
    Ok(host)
}

/// Looks at every file that `host` names; the error is a fragment.
pub(super) fn check(look: &Look<'_>, host: &Host) -> Result<(), String> {
    for path in host.ca.iter().flatten() {
        let bytes = file(look, path, "CA")?;
        if !blocks(bytes)
            .iter()
            .any(|block| block.headers().iter().next().is_none() && is_certificate(block))
        {
            return Err(format!("no certificate in the CA file `{path}`"));
        }
    }
    for (certificate, key) in &host.client {
        let bytes = file(look, certificate, "certificate")?;
        let key_path = key.as_ref().unwrap_or(certificate);
        let key_bytes = file(look, key_path, "key")?;
        match blocks(bytes).iter().find(|block| block.tag() == "CERTIFICATE") {
            Some(first) if is_certificate(first) => {}
            _ => return Err(format!("no certificate in `{certificate}`")),
        }
        let keys = blocks(key_bytes);
        let is_key = |block: &&pem::Pem| block.tag() == "PRIVATE KEY" || block.tag().ends_with(" PRIVATE KEY");
        match keys.iter().find(is_key) {
            Some(first) if first.tag() == "ENCRYPTED PRIVATE KEY" || !is_sequence(first.contents()) => {
                return Err(format!("the private key in `{key_path}` is encrypted or damaged"));
            }
            Some(_) => {}
            None => return Err(format!("no private key in `{key_path}`")),
        }
    }
    Ok(())
}

fn file<'a>(look: &Look<'a>, path: &str, what: &str) -> Result<&'a [u8], String> {
    match look.at(path) {
        Entry::File(bytes) => Ok(bytes),
        Entry::Folder(_) => Err(format!("the {what} file `{path}` is a folder")),
        Entry::Absent => Err(format!("the {what} file `{path}` does not exist")),
        Entry::Unusable(why) => Err(format!("the {what} file `{path}` {why}")),
    }
}

/// The blocks that can be read, in order.
fn blocks(bytes: &[u8]) -> Vec<pem::Pem> {
    const BEGIN: &str = "-----BEGIN ";
    let text = String::from_utf8_lossy(bytes);
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().copied().skip(1).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| pem::parse(&text[*start..end]).ok())
        .collect()
}

fn is_certificate(block: &pem::Pem) -> bool {
    block.tag() == "CERTIFICATE" && CertificateInner::<Raw>::from_der(block.contents()).is_ok()
}

fn is_sequence(der: &[u8]) -> bool {
    let whole = || {
        let mut reader = der::SliceReader::new(der)?;
        let header = der::Header::decode(&mut reader)?;
        Ok::<_, der::Error>(header.tag == der::Tag::Sequence && reader.remaining_len() == header.length)
    };
    whole().unwrap_or(false)
}
