//! Certificate and key files: those in a folder in Docker's layout, and checks of the files that a host names.

use crate::certs::{PairFault, check_pair, holds_certificate};
use crate::hosts::fields::Host;
use crate::hosts::lookup::TrackedTree;
use crate::hosts::url::join;
use crate::tree::Entry;

/// Returns the registry itself with the certificates of a folder that has no usable hosts.toml. containerd trusts `*.crt`,
/// and sends `*.cert` with the `.key` of the same name.
pub(super) fn of_folder(tree: &TrackedTree<'_>, folder: &str, names: &[String]) -> Result<Host, String> {
    let mut host = Host::default();
    for name in names {
        let path = join(folder, name);
        let (stem, is_ca) = match name.rsplit_once('.') {
            Some((stem, "crt")) => (stem, true),
            Some((stem, "cert")) => (stem, false),
            _ => continue,
        };
        if matches!(tree.at(&path), Entry::Folder(_)) {
            continue;
        }
        if is_ca {
            host.ca.get_or_insert_default().push(path);
            continue;
        }
        let key = join(folder, &format!("{stem}.key"));
        let key = match tree.at(&key) {
            Entry::Absent => None,
            Entry::Unusable(what) => return Err(format!("the key file `{key}` {what}")),
            Entry::File(_) | Entry::Folder(_) => Some(key),
        };
        host.client.push((path, key));
    }
    Ok(host)
}

/// Checks every file that `host` names, because one bad file of any host ends the whole pull. The error is a fragment.
pub(super) fn check(tree: &TrackedTree<'_>, host: &Host) -> Result<(), String> {
    for path in host.ca.iter().flatten() {
        if !holds_certificate(file(tree, path, "CA")?) {
            return Err(format!("no certificate in the CA file `{path}`"));
        }
    }
    for (certificate, key) in &host.client {
        let bytes = file(tree, certificate, "certificate")?;
        let key_path = key.as_ref().unwrap_or(certificate);
        check_pair(bytes, file(tree, key_path, "key")?).map_err(|fault| match fault {
            PairFault::NoCertificate => format!("no certificate in `{certificate}`"),
            PairFault::NoKey => format!("no private key in `{key_path}`"),
            PairFault::BadKey => format!("the private key in `{key_path}` is encrypted or damaged"),
        })?;
    }
    Ok(())
}

fn file<'a>(tree: &TrackedTree<'a>, path: &str, what: &str) -> Result<&'a [u8], String> {
    match tree.at(path) {
        Entry::File(bytes) => Ok(bytes),
        Entry::Folder(_) => Err(format!("the {what} file `{path}` is a folder")),
        Entry::Absent => Err(format!("the {what} file `{path}` does not exist")),
        Entry::Unusable(why) => Err(format!("the {what} file `{path}` {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const CA: &str = include_str!("testdata/ca.pem");
    const KEY: &str = include_str!("testdata/client.key");

    fn is_good(ca: Option<&str>, pair: Option<(&str, &str)>) -> bool {
        let mut tree = Tree::new();
        let mut host = Host::default();
        let mut put = |path: &str, text: &str| {
            tree.insert(path, Entry::File(text.as_bytes().to_vec()));
            path.to_owned()
        };
        host.ca = ca.map(|text| vec![put("/ca", text)]);
        host.client = pair
            .iter()
            .map(|(cert, key)| (put("/cert", cert), Some(put("/key", key))))
            .collect();
        check(&TrackedTree::new(&tree), &host).is_ok()
    }

    #[test]
    fn check_accepts_the_files_that_go_accepts() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        let with_header = CA.replacen('\n', "\nX: y\n", 1);
        let encrypted = KEY
            .replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1)
            .replace("MHcC", "AHcC");
        let damaged = KEY.replace("MHcC", "MHgC");
        for (text, as_ca, as_certificate) in [
            (CA.to_owned(), true, true),
            (format!("{junk}{CA}"), true, false),
            (format!("{KEY}{CA}"), true, true),
            (with_header, false, true),
            (junk.to_owned(), false, false),
            (KEY.to_owned(), false, false),
            (String::new(), false, false),
        ] {
            assert_eq!(is_good(Some(&text), None), as_ca, "{text}");
            assert_eq!(is_good(None, Some((&text, KEY))), as_certificate, "{text}");
        }
        for (text, good) in [
            (KEY.to_owned(), true),
            (KEY.replace("EC PRIVATE KEY", "PRIVATE KEY"), true),
            (KEY.replace("EC PRIVATE", "ENCRYPTED PRIVATE"), false),
            (encrypted, false),
            (damaged, false),
            (CA.to_owned(), false),
        ] {
            assert_eq!(is_good(None, Some((CA, &text))), good, "{text}");
        }
    }
}
