//! A cluster's certificate authority, the certificates that it signs, and the files that hold them.

use std::fs::{
    Permissions, {self},
};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::network;
use crate::lab::pki::{Pair, authority, client, server_of};

/// The common name of the authority.
const AUTHORITY: &str = "lab cluster";

/// The keys of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    authority: Pair,
}

impl Keys {
    /// Creates the folder and writes the keys of the control plane to it.
    pub(super) fn make(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        let authority = authority(AUTHORITY).map_err(io::Error::other)?;
        fs::write(folder.join("ca.crt"), &authority.cert)?;
        let keys = Self { folder, authority };
        let (plane, service) = (network::PLANE.to_string(), network::SERVICE.to_string());
        let names = [&plane, &service, "127.0.0.1", "kubernetes.default.svc"];
        keys.keep("api-server", &keys.server(&names)?)?;
        keys.keep(
            "to-kubelets",
            &keys.client("kube-apiserver-kubelet-client", "system:masters")?,
        )?;
        // The key signs the tokens of service accounts. The API server reads the public key from the certificate.
        keys.keep("accounts", &keys.client("service-accounts", "")?)?;
        for (file, name, group) in [
            ("admin", "admin", "system:masters"),
            ("controller-manager", "system:kube-controller-manager", ""),
            ("scheduler", "system:kube-scheduler", ""),
        ] {
            let text = keys.kubeconfig(name, group)?;
            fs::write(keys.path(file), text)?;
            fs::set_permissions(keys.path(file), Permissions::from_mode(0o600))?;
        }
        Ok(keys)
    }

    /// The PEM certificate of the cluster's authority.
    pub(super) fn authority(&self) -> &str {
        &self.authority.cert
    }

    /// Signs a server certificate for these names and addresses.
    pub(super) fn server(&self, names: &[&str]) -> io::Result<Pair> {
        server_of(names, Some((AUTHORITY, &self.authority))).map_err(io::Error::other)
    }

    /// A kubeconfig with embedded certificates for a user in this group.
    pub(super) fn kubeconfig(&self, name: &str, group: &str) -> io::Result<String> {
        let pair = self.client(name, group)?;
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {
                "server": network::api_server(),
                "certificate-authority-data": BASE64.encode(&self.authority.cert),
            }}],
            "users": [{"name": "own", "user": {
                "client-certificate-data": BASE64.encode(&pair.cert),
                "client-key-data": BASE64.encode(&pair.key),
            }}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "own"}}],
        });
        Ok(config.to_string())
    }

    /// The path of a file in the folder.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn client(&self, name: &str, group: &str) -> io::Result<Pair> {
        let group = Some(group).filter(|group| !group.is_empty());
        client(name, group, (AUTHORITY, &self.authority)).map_err(io::Error::other)
    }

    fn keep(&self, name: &str, pair: &Pair) -> io::Result<()> {
        keep(&self.folder, name, pair)
    }
}

/// Writes `name.crt` and `name.key`.
pub(super) fn keep(folder: &Path, name: &str, pair: &Pair) -> io::Result<()> {
    fs::write(folder.join(format!("{name}.crt")), &pair.cert)?;
    let key = folder.join(format!("{name}.key"));
    fs::write(&key, &pair.key)?;
    fs::set_permissions(key, Permissions::from_mode(0o600))
}
