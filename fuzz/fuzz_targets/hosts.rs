//! Reads a hosts.toml in a registry's hosts directory, as each release does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::{Route, Tree, hosts_in_file, hosts_faults, hosts_route, unread_hosts_paths};
use mirrorshift_fuzz::{Files, version};

const ROOT: &str = "/etc/containerd/certs.d";

fuzz_target!(|data: &[u8]| {
    let Some((version, bytes)) = version(data) else { return };
    for registry in ["docker.io", "localhost:5000", "reg.test:8443"] {
        let folder = format!("{ROOT}/{registry}");
        let files = Files([(format!("{folder}/hosts.toml"), bytes.to_vec())].into());
        let mut tree = Tree::new();
        for path in [folder.clone(), format!("{folder}/hosts.toml")] {
            tree.insert(path.clone(), files.entry(&path));
        }
        for _ in 0..100 {
            for path in unread_hosts_paths(&version, &tree, ROOT, registry) {
                assert!(tree.get(&path).is_none(), "requested {path} again");
                tree.insert(path.clone(), files.entry(&path));
            }
        }
        let direct = hosts_in_file(&version, &folder, bytes, registry);
        let route = hosts_route(&version, &tree, ROOT, registry);
        match (&direct, &route) {
            // containerd treats an empty file as a missing file.
            _ if bytes.is_empty() => {}
            (Ok(direct), Route::Hosts(hosts)) => assert_eq!(direct, hosts),
            (Err(_), _) => assert!(
                !hosts_faults(&version, &tree, &folder).is_empty(),
                "the rejected file has no fault"
            ),
            _ => {}
        }
        drop(hosts_faults(&version, &tree, &folder));
    }
});
