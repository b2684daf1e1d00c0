//! The files of a node: those with which a Debian root boots quickly as a container, then the test's.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::{fs, io};

use sha2::{Digest, Sha256};

use super::options::NodeOptions;
use crate::lab::Pki;

/// A unit that makes the controllers of version 1 and the network settings writable, which nspawn mounts read-only.
/// They belong to the node's namespaces.
const WRITABLE: &str = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\n\
    ExecStart=/bin/sh -c 'for group in /sys/fs/cgroup/*/cgroup.procs; do mount -o remount,rw,bind \"$${group%%/*}\" || :; done'\n\
    ExecStart=/bin/sh -c 'mount --bind /proc/sys/net /proc/sys/net && mount -o remount,rw,bind /proc/sys/net'\n";

/// The configuration of the pod network, so that CRI reports `NetworkReady` and sandboxes have addresses.
const CNI: &str = r#"{"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
  "ranges": [[{"subnet": "10.244.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
"#;

/// Units for machines that run for months, or that have a console.
const NEEDLESS: [&str; 12] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "systemd-firstboot.service",
    "systemd-pstore.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-utmp.service",
];

/// Writes the files into the upper layer of the node. Nothing is mounted yet, so no symbolic link of the root is
/// followed.
pub(super) fn write(upper: &Path, name: &str, hosts: &str, options: &NodeOptions, pki: &Pki) -> io::Result<()> {
    let put = |path: &str, bytes: &[u8]| -> io::Result<()> {
        let inside = path
            .strip_prefix('/')
            .filter(|path| !path.split('/').any(|part| part == ".."));
        let inside = inside.ok_or_else(|| io::Error::other(format!("`{path}` is not an absolute path")))?;
        let target = upper.join(inside);
        if path.ends_with('/') {
            return fs::create_dir_all(target);
        }
        fs::create_dir_all(target.parent().unwrap_or(upper))?;
        fs::write(target, bytes)
    };
    // A fixed machine id. Systems create an empty one at each boot, and some of them ask for it interactively.
    let id = Sha256::digest(name)
        .iter()
        .take(16)
        .fold(0, |id: u128, byte| id << 8 | u128::from(*byte));
    for (path, text) in [
        ("/etc/machine-id", format!("{id:032x}\n")),
        ("/etc/hostname", format!("{name}\n")),
        ("/etc/hosts", format!("{hosts}127.0.1.1 {name}\n")),
        // Names are only resolved with the hosts file, so that an unknown name fails at once.
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n".into(),
        ),
        ("/etc/resolv.conf", String::new()),
        ("/etc/ssl/certs/ca-certificates.crt", pki.trusted.cert.clone()),
        ("/etc/cni/net.d/10-lab.conflist", CNI.into()),
        ("/etc/systemd/system/lab-own.service", WRITABLE.into()),
        // The journal is persistent, so that a test can read it after a reset.
        (
            "/etc/systemd/journald.conf.d/lab.conf",
            "[Journal]\nStorage=persistent\nRateLimitBurst=0\n".into(),
        ),
    ] {
        put(path, text.as_bytes())?;
    }
    let units = upper.join("etc/systemd/system");
    fs::create_dir_all(units.join("sysinit.target.wants"))?;
    symlink("../lab-own.service", units.join("sysinit.target.wants/lab-own.service"))?;
    for unit in NEEDLESS {
        symlink("/dev/null", units.join(unit))?;
    }
    for (path, bytes) in &options.files {
        put(path, &pki.fill(bytes))?;
    }
    Ok(())
}
