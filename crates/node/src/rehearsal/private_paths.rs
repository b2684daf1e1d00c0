//! Folders that a containerd in the sandbox must not share with the running one: those of its sockets, of data with a
//! lock, and of programs that it would start.

use crate::files::resolve::{ResolvedPath, resolve};
use crate::files::root::{Root, split};
use crate::rehearsal::error::RehearsalError;
use mirrorshift_containerd::Document;
use mirrorshift_containerd::toml::{Table, ValueKind};

/// The folders that the old and the new configuration name. The keys are those of containerd 1.6 to 2.4.
#[derive(Debug, Default)]
pub(super) struct ConfiguredPaths {
    /// The value of `state` after the files were merged.
    pub(super) state: Option<String>,
    /// Folders that contain sockets.
    sockets: Vec<String>,
    /// Data folders of plugins outside of `root`.
    data: Vec<String>,
    /// Folders of NRI's plugins, which containerd starts as root, and of their configuration.
    programs: Vec<String>,
}

/// The default folders of NRI's plugins and of their configuration.
const NRI: [&str; 2] = ["/opt/nri", "/etc/nri"];
/// The folder under which the sockets of a usual node are.
pub(super) const RUN: &str = "/run";

impl ConfiguredPaths {
    /// Adds the folders that the files of `document` name. The last file that has `state` takes effect, as in
    /// containerd's merge.
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
                // An address with a port is in the sandbox's own network.
                ValueKind::String(path) if path.starts_with('/') => self.add(above, &key, path),
                _ => {}
            }
        }
    }

    fn add(&mut self, above: &[String], key: &str, path: &str) {
        let is_within = |name: &str| above.iter().any(|table| table.starts_with(name));
        let nri = is_within("io.containerd.nri.v1");
        let server = is_within("io.containerd.server.v1")
            || above
                .first()
                .is_some_and(|table| ["grpc", "ttrpc", "debug", "metrics"].contains(&table.as_str()));
        match key {
            "plugin_path" | "plugin_config_path" if nri => self.programs.push(path.to_owned()),
            "socket_path" if nri => self.sockets.push(split(path).0.to_owned()),
            "address" if server => self.sockets.push(split(path).0.to_owned()),
            "root_path" if is_within("plugins") => self.data.push(path.to_owned()),
            _ => {}
        }
    }

    /// Returns the folders that are empty and private in the sandbox: `/run`, containerd's root and state, and the
    /// folders of other sockets and data. No folder is under another.
    pub(super) fn private(
        &self,
        node: &Root,
        root: &str,
        state: &str,
        address: &str,
    ) -> Result<Vec<String>, RehearsalError> {
        let own = [root, state, split(address).0].into_iter();
        let others = self.sockets.iter().chain(&self.data).map(String::as_str);
        let mut private = vec![RUN.to_owned()];
        for path in own.chain(others) {
            // A folder that does not exist is not shared, and cannot be created in the sandbox either.
            let Ok(ResolvedPath::Found(real)) = resolve(node, path) else {
                continue;
            };
            if real.matches('/').count() < 2 && real != RUN {
                return Err(RehearsalError::Place {
                    path: path.to_owned(),
                    why: "is a folder that the sandbox needs",
                });
            }
            private.push(real);
        }
        outermost(&mut private);
        Ok(private)
    }

    /// Returns the folders whose programs must not run, with systemd's prefix for a path that may be missing.
    pub(super) fn inaccessible(&self) -> Vec<String> {
        let mut paths: Vec<String> = NRI.map(str::to_owned).into();
        paths.extend(self.programs.iter().cloned());
        paths.sort();
        paths.dedup();
        paths.iter().map(|path| format!("-{path}")).collect()
    }
}

/// Removes every path that is under another path.
pub(super) fn outermost(paths: &mut Vec<String>) {
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && is_below(path, other)));
}

/// Returns true if `path` is `folder` or is under it.
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
    fn configured_paths_are_found_in_every_table() {
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
    fn private_folders_exist_and_do_not_overlap() {
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
