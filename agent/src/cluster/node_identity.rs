//! Whose agent this is: the node that the pod's token is bound to.

use crate::cluster::client::{ApiClient, RetrySafety};
use crate::cluster::error::{ApiErrorKind, Error};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A Node as it owns what its agent writes: with it, that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The Node's name.
    pub name: String,
    /// Its uid: a Node that was deleted and made again has another one.
    pub uid: String,
}

/// The token does not say whose agent this is.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// There is none, or it cannot be read.
    #[error("cannot read the token in `{}`", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no token of a service account. What it is is not told.
    #[error("the token in `{}` is none of a service account", path.display())]
    Strange {
        /// Where it is.
        path: PathBuf,
    },
    /// It names no node. Tokens of pods do so from Kubernetes 1.30 on, where the admission policy is of the same release.
    #[error("the token in `{}` is bound to no node, which takes Kubernetes 1.30 or newer", path.display())]
    Unbound {
        /// Where it is.
        path: PathBuf,
    },
    /// It names another node than the pod was told.
    #[error("the token is bound to node `{bound}`, and the pod was told that it runs on `{told}`")]
    Other {
        /// The token's node.
        bound: String,
        /// The pod's node.
        told: String,
    },
}

/// What of a token's claims matters here. Whether they are true is the API server's to say; here they only spare a question.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    node: Option<Bound>,
}

#[derive(Deserialize)]
struct Bound {
    name: String,
    uid: String,
}

impl NodeIdentity {
    /// The node that the token in a file is bound to, which must be `node`, the one that the pod was told.
    ///
    /// A token keeps the uid that the Node had when it was made. The kubelet gets a new one in less than an hour.
    pub fn of_token(path: &Path, node: &str) -> Result<Self, OwnerError> {
        let token = fs::read_to_string(path).map_err(|source| OwnerError::Missing {
            path: path.to_owned(),
            source,
        })?;
        let strange = || OwnerError::Strange { path: path.to_owned() };
        let claims = token.trim().split('.').nth(1).ok_or_else(strange)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_not_encoded| strange())?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_no_claims| strange())?;
        match claims.kubernetes.node {
            None => Err(OwnerError::Unbound { path: path.to_owned() }),
            Some(bound) if bound.name != node => Err(OwnerError::Other {
                bound: bound.name,
                told: node.to_owned(),
            }),
            Some(Bound { name, uid }) => Ok(Self { name, uid }),
        }
    }

    /// As it stands in what the node owns.
    pub(super) fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        }
    }

    /// Whether this node is the one and only owner.
    pub(super) fn owns(&self, owners: Option<&Vec<OwnerReference>>) -> bool {
        owners.is_some_and(|owners| *owners == [self.reference()])
    }

    /// Asks whether the Node is still this one.
    ///
    /// Whatever a vanished Node owns is deleted, a slot as well: taken in its name it would be free again at once, in the
    /// middle of the change.
    ///
    /// # Errors
    ///
    /// [`Kind::OtherNode`] when there is another Node of the name, or none.
    pub(super) async fn verify_node_exists(&self, cluster: &ApiClient) -> Result<(), Error> {
        let doing = format!("tell whether Node {} is still the same", self.name);
        let nodes = Api::<Node>::all(cluster.client());
        let node = cluster
            .call(&doing, RetrySafety::Idempotent, || nodes.get_metadata_opt(&self.name))
            .await?;
        let uid = node.and_then(|node| node.metadata.uid);
        match uid {
            Some(uid) if uid == self.uid => Ok(()),
            Some(_other) => Err(Error::new(
                &doing,
                ApiErrorKind::OtherNode,
                "it was deleted and made again; the pod's token will follow within the hour, or with a new pod",
            )),
            None => Err(Error::new(&doing, ApiErrorKind::OtherNode, "there is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn token(claims: &str) -> String {
        format!("aGVhZA.{}.c2lnbmF0dXJl\n", URL_SAFE_NO_PAD.encode(claims))
    }

    fn read(token: &str, node: &str) -> Result<NodeIdentity, OwnerError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, token).unwrap();
        NodeIdentity::of_token(&path, node)
    }

    #[test]
    fn a_bound_token_names_its_node() {
        let claims = r#"{"exp":1,"kubernetes.io":{"namespace":"a","node":{"name":"n1","uid":"u1"},"pod":{"name":"p","uid":"q"}}}"#;
        let owner = read(&token(claims), "n1").unwrap();
        assert_eq!((owner.name.as_str(), owner.uid.as_str()), ("n1", "u1"));
        assert!(owner.owns(Some(&vec![owner.reference()])));
        assert!(!owner.owns(None));
        assert!(!owner.owns(Some(&vec![owner.reference(), owner.reference()])));
        let other = NodeIdentity {
            uid: "u2".into(),
            ..owner.clone()
        };
        assert!(!owner.owns(Some(&vec![other.reference()])));
        assert!(matches!(read(&token(claims), "n2"), Err(OwnerError::Other { .. })));
    }

    #[test]
    fn an_unbound_one_says_what_it_takes() {
        let error = read(&token(r#"{"kubernetes.io":{"namespace":"a"}}"#), "n1").unwrap_err();
        assert!(error.to_string().contains("Kubernetes 1.30"), "{error}");
    }

    #[test]
    fn whatever_else_is_not_repeated() {
        for strange in [
            "",
            "hunter2",
            "a.b.c",
            "a.!!!.c",
            &token("[]"),
            &token(r#"{"sub":"hunter2"}"#),
        ] {
            let error = read(strange, "n1").unwrap_err();
            assert!(matches!(error, OwnerError::Strange { .. }), "{error:?}");
            assert!(!format!("{error:?}{error}{:?}", error.source()).contains("hunter2"));
        }
        assert!(matches!(
            NodeIdentity::of_token(Path::new("/nonexistent/token"), "n1"),
            Err(OwnerError::Missing { .. })
        ));
    }
}
