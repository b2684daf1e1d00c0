//! A hosts.toml in the folder of a registry, as each release reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::{Route, Tree, hosts_asks, hosts_faults, hosts_route, unread_hosts_paths};
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
                assert!(tree.get(&path).is_none(), "asked again for {path}");
                tree.insert(path.clone(), files.entry(&path));
            }
        }
        let asks = hosts_asks(&version, &folder, bytes, registry);
        let route = hosts_route(&version, &tree, ROOT, registry);
        match (&asks, &route) {
            // An empty file is none.
            _ if bytes.is_empty() => {}
            (Ok(asks), Route::Hosts(hosts)) => assert_eq!(asks, hosts),
            (Err(_), _) => assert!(
                !hosts_faults(&version, &tree, &folder).is_empty(),
                "nothing is said of it"
            ),
            _ => {}
        }
        drop(hosts_faults(&version, &tree, &folder));
    }
});
