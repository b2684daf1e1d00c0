//! The identity of the agent: the node to which the pod's token is bound.

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

/// A Node. It owns the objects that its agent writes, so that Kubernetes deletes them together with the Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The name of the Node.
    pub name: String,
    /// A Node that was deleted and recreated has another uid.
    pub uid: String,
}

/// The token does not identify the node.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is missing or cannot be read.
    #[error("cannot read the token in `{}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file does not contain a service account token. The contents are never printed.
    #[error("`{}` is not a service account token", path.display())]
    NotServiceAccount {
        /// The file.
        path: PathBuf,
    },
    /// The token names no node. Tokens of pods name it since Kubernetes 1.30, which the admission policy needs too.
    #[error("the token in `{}` is not bound to a node; this requires Kubernetes 1.30 or newer", path.display())]
    Unbound {
        /// The file.
        path: PathBuf,
    },
    /// The token names another node than the environment of the pod.
    #[error("the token is bound to node `{bound}`, but NODE_NAME is `{expected}`")]
    OtherNode {
        /// The node of the token.
        bound: String,
        /// The node of the environment.
        expected: String,
    },
}

/// The claims of a token that the agent reads. It does not verify them: the API server does that with each call.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaim,
}

#[derive(Deserialize)]
struct KubernetesClaim {
    node: Option<BoundNode>,
}

#[derive(Deserialize)]
struct BoundNode {
    name: String,
    uid: String,
}

impl NodeIdentity {
    /// Reads the node to which the token in a file is bound. It must be `node`, which the environment of the pod names.
    ///
    /// A token keeps the uid that the Node had when the token was created. The kubelet requests a new token in less
    /// than an hour.
    ///
    /// # Errors
    ///
    /// If the token does not identify this node.
    pub fn of_token(path: &Path, node: &str) -> Result<Self, TokenError> {
        let token = fs::read_to_string(path).map_err(|source| TokenError::Missing {
            path: path.to_owned(),
            source,
        })?;
        let not_service_account = || TokenError::NotServiceAccount { path: path.to_owned() };
        let claims = token.trim().split('.').nth(1).ok_or_else(not_service_account)?;
        let claims = URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_not_encoded| not_service_account())?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_no_claims| not_service_account())?;
        match claims.kubernetes.node {
            None => Err(TokenError::Unbound { path: path.to_owned() }),
            Some(bound) if bound.name != node => Err(TokenError::OtherNode {
                bound: bound.name,
                expected: node.to_owned(),
            }),
            Some(BoundNode { name, uid }) => Ok(Self { name, uid }),
        }
    }

    /// The owner reference of an object that the node owns.
    pub(super) fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            ..OwnerReference::default()
        }
    }

    /// Returns true if this node is the only owner.
    pub(super) fn owns(&self, owners: Option<&Vec<OwnerReference>>) -> bool {
        owners.is_some_and(|owners| *owners == [self.owner_reference()])
    }

    /// Verifies that the Node with this uid exists.
    ///
    /// Kubernetes deletes the objects of a Node that does not exist. A slot that is acquired in its name would be
    /// deleted at once, in the middle of the change.
    ///
    /// # Errors
    ///
    /// [`ApiErrorKind::OtherNode`] if there is another Node of this name, or none.
    pub(super) async fn verify_node_exists(&self, client: &ApiClient) -> Result<(), Error> {
        let action = format!("verify the uid of Node {}", self.name);
        let nodes = Api::<Node>::all(client.client());
        let node = client
            .call(&action, RetrySafety::Idempotent, || nodes.get_metadata_opt(&self.name))
            .await?;
        let uid = node.and_then(|node| node.metadata.uid);
        match uid {
            Some(uid) if uid == self.uid => Ok(()),
            Some(_other) => Err(Error::new(
                &action,
                ApiErrorKind::OtherNode,
                "the Node was deleted and recreated; delete the pod, or wait up to an hour for its new token",
            )),
            None => Err(Error::new(&action, ApiErrorKind::OtherNode, "the Node does not exist")),
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

    fn read(token: &str, node: &str) -> Result<NodeIdentity, TokenError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, token).unwrap();
        NodeIdentity::of_token(&path, node)
    }

    #[test]
    fn bound_token_identifies_its_node() {
        let claims = r#"{"exp":1,"kubernetes.io":{"namespace":"a","node":{"name":"n1","uid":"u1"},"pod":{"name":"p","uid":"q"}}}"#;
        let owner = read(&token(claims), "n1").unwrap();
        assert_eq!((owner.name.as_str(), owner.uid.as_str()), ("n1", "u1"));
        assert!(owner.owns(Some(&vec![owner.owner_reference()])));
        assert!(!owner.owns(None));
        assert!(!owner.owns(Some(&vec![owner.owner_reference(), owner.owner_reference()])));
        let other = NodeIdentity {
            uid: "u2".into(),
            ..owner.clone()
        };
        assert!(!owner.owns(Some(&vec![other.owner_reference()])));
        assert!(matches!(read(&token(claims), "n2"), Err(TokenError::OtherNode { .. })));
    }

    #[test]
    fn unbound_token_error_names_the_required_kubernetes_release() {
        let error = read(&token(r#"{"kubernetes.io":{"namespace":"a"}}"#), "n1").unwrap_err();
        assert!(error.to_string().contains("Kubernetes 1.30"), "{error}");
    }

    #[test]
    fn contents_of_other_files_are_never_printed() {
        for contents in [
            "",
            "hunter2",
            "a.b.c",
            "a.!!!.c",
            &token("[]"),
            &token(r#"{"sub":"hunter2"}"#),
        ] {
            let error = read(contents, "n1").unwrap_err();
            assert!(matches!(error, TokenError::NotServiceAccount { .. }), "{error:?}");
            assert!(!format!("{error:?}{error}{:?}", error.source()).contains("hunter2"));
        }
        assert!(matches!(
            NodeIdentity::of_token(Path::new("/nonexistent/token"), "n1"),
            Err(TokenError::Missing { .. })
        ));
    }
}
