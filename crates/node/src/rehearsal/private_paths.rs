//! Places that a containerd in the sandbox must not share with the running one: where it listens, where it keeps data with a
//! lock on it, and whose programs it would start.

use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, split};
use crate::rehearsal::error::RehearsalError;
use mirrorshift_containerd::Document;
use mirrorshift_containerd::toml::{Table, ValueKind};

/// What of the configuration, before and after, says so. The names are those of containerd 1.6 to 2.4.
#[derive(Debug, Default)]
pub(super) struct ConfiguredPaths {
    /// `state`, as it was merged.
    pub(super) state: Option<String>,
    /// Folders of sockets.
    sockets: Vec<String>,
    /// Folders of data that a plugin keeps away from `root`.
    data: Vec<String>,
    /// Folders of NRI's plugins, which are run as root at the start, and of their settings.
    programs: Vec<String>,
}

/// Where NRI has its plugins and their settings unless something else is said.
const NRI: [&str; 2] = ["/opt/nri", "/etc/nri"];
/// Every socket of a usual node is somewhere below.
pub(super) const RUN: &str = "/run";

impl ConfiguredPaths {
    /// Adds what the files of `document` say. A later file has the last word on `state`, as in the merge.
    pub(super) fn read(&mut self, document: &Document) {
        for file in &document.files {
            for (key, value) in &file.parsed.root {
                if let (true, ValueKind::String(state)) = (key.eq_ignore_ascii_case("state"), &value.kind)
                    && !state.is_empty()
                {
                    self.state = Some(state.clone());
                }
            }
            self.walk(&file.parsed.root, &mut Vec::new());
        }
    }

    fn walk(&mut self, table: &Table, above: &mut Vec<String>) {
        for (key, value) in table {
            let key = key.to_ascii_lowercase();
            match &value.kind {
                ValueKind::Table(inner) => {
                    above.push(key);
                    self.walk(inner, above);
                    above.pop();
                }
                // Addresses with a port are in a network of the sandbox's own.
                ValueKind::String(path) if path.starts_with('/') => self.note(above, &key, path),
                _ => {}
            }
        }
    }

    fn note(&mut self, above: &[String], key: &str, path: &str) {
        let within = |name: &str| above.iter().any(|table| table.starts_with(name));
        let nri = within("io.containerd.nri.v1");
        let server = within("io.containerd.server.v1")
            || above
                .first()
                .is_some_and(|table| ["grpc", "ttrpc", "debug", "metrics"].contains(&table.as_str()));
        match key {
            "plugin_path" | "plugin_config_path" if nri => self.programs.push(path.to_owned()),
            "socket_path" if nri => self.sockets.push(split(path).0.to_owned()),
            "address" if server => self.sockets.push(split(path).0.to_owned()),
            "root_path" if within("plugins") => self.data.push(path.to_owned()),
            _ => {}
        }
    }

    /// Folders that are empty in the sandbox and its own, none below another: `/run`, containerd's root and state, and what
    /// else holds sockets or data.
    pub(super) fn private(
        &self,
        node: &Root,
        root: &str,
        state: &str,
        address: &str,
    ) -> Result<Vec<String>, RehearsalError> {
        let wanted = [root, state, split(address).0].into_iter();
        let others = self.sockets.iter().chain(&self.data).map(String::as_str);
        let mut private = vec![RUN.to_owned()];
        for path in wanted.chain(others) {
            // Where there is nothing, nothing is shared, and nothing can be written there either.
            let Ok(ResolvedPath::Found(real)) = resolve(node, path) else {
                continue;
            };
            if real.matches('/').count() < 2 && real != RUN {
                return Err(RehearsalError::Place {
                    path: path.to_owned(),
                    why: "is a folder that the sandbox cannot do without",
                });
            }
            private.push(real);
        }
        outermost(&mut private);
        Ok(private)
    }

    /// Folders whose programs must not run: for systemd, each with the mark of one that may be missing.
    pub(super) fn inaccessible(&self) -> Vec<String> {
        let mut paths: Vec<String> = NRI.map(str::to_owned).into();
        paths.extend(self.programs.iter().cloned());
        paths.sort();
        paths.dedup();
        paths.iter().map(|path| format!("-{path}")).collect()
    }
}

/// Takes away what lies below another one.
pub(super) fn outermost(paths: &mut Vec<String>) {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && is_below(path, other)));
}

/// Whether `path` is `folder` or lies below it.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorshift_containerd::{DEFAULT_CONFIG, Entry, Tree, read};

    fn settings(text: &str) -> ConfiguredPaths {
        let mut tree = Tree::new();
        tree.insert(DEFAULT_CONFIG, Entry::File(text.into()));
        let config = read(&"2.1.9".parse().unwrap(), DEFAULT_CONFIG, &tree).outcome.unwrap();
        let mut settings = ConfiguredPaths::default();
        settings.read(&config.document);
        settings
    }

    #[test]
    fn sockets_data_and_programs_are_found_wherever_they_are() {
        let found = settings(
            "version = 3\nstate = \"/srv/state\"\n[grpc]\naddress = \"/srv/a/c.sock\"\n[debug]\naddress = \"/srv/b/d.sock\"\n\
             [metrics]\naddress = \"127.0.0.1:1338\"\n[plugins.\"io.containerd.nri.v1.nri\"]\nplugin_path = \"/srv/nri\"\n\
             socket_path = \"/srv/c/nri.sock\"\n[plugins.\"io.containerd.snapshotter.v1.devmapper\"]\n\
             root_path = \"/srv/devmapper\"\n[proxy_plugins.x]\naddress = \"/srv/keep/x.sock\"\n",
        );
        assert_eq!(found.state.as_deref(), Some("/srv/state"));
        assert_eq!(found.sockets, ["/srv/a", "/srv/b", "/srv/c"]);
        assert_eq!(found.data, ["/srv/devmapper"]);
        assert_eq!(found.inaccessible(), ["-/etc/nri", "-/opt/nri", "-/srv/nri"]);
    }

    #[test]
    fn private_folders_are_there_and_none_lies_in_another() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["data/containerd/devmapper", "run/containerd", "srv/a"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        std::os::unix::fs::symlink("/data", folder.path().join("link")).unwrap();
        let node = Root::open(folder.path()).unwrap();
        let settings = ConfiguredPaths {
            sockets: vec!["/srv/a".to_owned(), "/nowhere".to_owned()],
            data: vec!["/data/containerd/devmapper".to_owned()],
            ..ConfiguredPaths::default()
        };
        let private = |root| settings.private(&node, root, "/run/containerd", "/run/containerd/c.sock");
        assert_eq!(
            private("/link/containerd").unwrap(),
            ["/data/containerd", "/run", "/srv/a"]
        );
        assert!(matches!(private("/data"), Err(RehearsalError::Place { .. })));
    }
}
