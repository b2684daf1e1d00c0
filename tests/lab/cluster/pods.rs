//! Reads the containers of pods on a node, where they are known even if the API server and the kubelet are down.

use std::{fs, io};

use crate::lab::Node;
use crate::lab::node::{COUNT, ContainerProcess, Workload};

/// A container of a pod, as the kubelet recorded it on its node.
#[derive(Clone, Debug)]
pub struct PodContainer {
    pub namespace: String,
    pub pod: String,
    /// The container's name in the pod.
    pub name: String,
    pub id: String,
    /// The path of its log in the node.
    pub log: String,
    /// Its main process while it runs.
    pub process: Option<ContainerProcess>,
}

impl PodContainer {
    /// A handle for [`Node::counted`] and [`Node::log_flows`], for a counting container.
    pub fn workload(&self) -> Workload {
        Workload {
            sandbox: String::new(),
            container: self.id.clone(),
            log: self.log.clone(),
        }
    }
}

/// Returns every container of a pod whose log is on the node, including containers that have ended.
pub fn containers(node: &Node) -> io::Result<Vec<PodContainer>> {
    let processes = node.pids()?;
    let mut found = Vec::new();
    for entry in fs::read_dir(node.path("/var/log/containers"))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some((namespace, pod, name, id)) = parts(&file) else {
            continue;
        };
        // A log that is removed at this moment is treated as removed.
        let Ok(log) = fs::read_link(entry.path()) else { continue };
        found.push(PodContainer {
            process: processes.get(id).copied(),
            namespace: namespace.into(),
            pod: pod.into(),
            name: name.into(),
            id: id.into(),
            log: log.display().to_string(),
        });
    }
    found.sort_by(|one, two| (&one.namespace, &one.pod, &one.id).cmp(&(&two.namespace, &two.pod, &two.id)));
    Ok(found)
}

/// Splits `POD_NAMESPACE_CONTAINER-ID.log`; no name contains an underscore.
fn parts(file: &str) -> Option<(&str, &str, &str, &str)> {
    let (names, id) = file.strip_suffix(".log")?.rsplit_once('-')?;
    let mut names = names.split('_');
    let (pod, namespace, name) = (names.next()?, names.next()?, names.next()?);
    Some((namespace, pod, name, id))
}

/// A `DaemonSet` in the namespace `default` whose container counts like that of [`Node::start_workload`]. It pulls
/// the image again for each pod.
pub fn counting(name: &str, image: &str) -> String {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "tolerations": [{"operator": "Exists"}],
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "counts", "image": image, "imagePullPolicy": "Always",
                        "command": ["/bin/sh", "-c", COUNT],
                    }],
                },
            },
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn log_name_is_split_into_pod_namespace_container_and_id() {
        assert_eq!(
            parts("a-b-x1_default_c-d-0123.log"),
            Some(("default", "a-b-x1", "c-d", "0123"))
        );
        assert_eq!(parts("lost+found"), None);
        assert_eq!(parts("a-1.log"), None);
    }
}
