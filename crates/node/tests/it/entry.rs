//! [`Root::entry`]: the files that are read, the paths that are unusable, and the messages.

use mirrorshift_containerd::Entry;
use mirrorshift_node::{FILE_LIMIT, FOLDER_LIMIT, Root, RootError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::error::Error;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::TempDir;

fn node() -> (TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc/containerd/certs.d")).unwrap();
    fs::write(dir.path().join("etc/containerd/config.toml"), "version = 2\n").unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn file(text: &str) -> Entry {
    Entry::File(text.as_bytes().to_vec())
}

fn unusable(text: &str) -> Entry {
    Entry::Unusable(text.to_owned())
}

#[test]
fn entry_is_file_folder_or_absent() {
    let (_dir, root) = node();
    assert_eq!(root.entry("/etc/containerd/config.toml"), file("version = 2\n"));
    let names = ["certs.d", "config.toml"].map(str::to_owned).to_vec();
    assert_eq!(root.entry("/etc/containerd"), Entry::Folder(names));
    assert_eq!(root.entry("/"), Entry::Folder(vec!["etc".to_owned()]));
    assert_eq!(root.entry("/etc/containerd/none.toml"), Entry::Absent);
    assert_eq!(root.entry("/etc/none/none.toml"), Entry::Absent);
}

#[test]
fn entry_follows_links_inside_the_root() {
    let (dir, root) = node();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("opt/x")).unwrap();
    fs::write(at("opt/x/config.toml"), "moved\n").unwrap();
    symlink("/opt/x/config.toml", at("etc/absolute")).unwrap();
    symlink("../opt/x/config.toml", at("etc/relative")).unwrap();
    symlink("absolute", at("etc/chain")).unwrap();
    symlink("/opt/x", at("etc/folder")).unwrap();
    for path in [
        "/etc/absolute",
        "/etc/relative",
        "/etc/chain",
        "/etc/folder/config.toml",
    ] {
        assert_eq!(root.entry(path), file("moved\n"), "{path}");
    }
}

#[test]
fn entry_outside_the_root_names_the_link() {
    let (dir, root) = node();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret\n").unwrap();
    let climb = format!("{}{}", "../".repeat(30), outside.path().join("secret").display());
    symlink(&climb, dir.path().join("etc/out")).unwrap();
    symlink("/etc/out", dir.path().join("etc/further")).unwrap();
    assert_eq!(root.entry("/etc/out"), unusable("leads out of the root"));
    assert_eq!(
        root.entry("/etc/further"),
        unusable("leads out of the root by the link `/etc/out`")
    );
    // An absolute link is a path under this root, and that path does not exist.
    symlink(outside.path().join("secret"), dir.path().join("etc/absolute")).unwrap();
    assert_eq!(root.entry("/etc/absolute"), Entry::Absent);
}

#[test]
fn dangling_link_is_absent_and_loop_is_unusable() {
    let (dir, root) = node();
    symlink("nothing", dir.path().join("etc/dangling")).unwrap();
    symlink("b", dir.path().join("etc/a")).unwrap();
    symlink("a", dir.path().join("etc/b")).unwrap();
    assert_eq!(root.entry("/etc/dangling"), Entry::Absent);
    assert_eq!(root.entry("/etc/a"), unusable("leads into a loop of links"));
}

#[test]
fn fifo_and_socket_are_never_opened() {
    let (dir, root) = node();
    let fifo = dir.path().join("etc/fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(root.entry("/etc/fifo"), unusable("is a FIFO"));
    let socket = dir.path().join("etc/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(root.entry("/etc/socket"), unusable("is a socket"));
    let under_a_file = root.entry("/etc/containerd/config.toml/hosts.toml");
    assert_eq!(
        under_a_file,
        unusable("is under `/etc/containerd/config.toml`, which is not a folder")
    );
}

#[test]
fn device_is_never_opened() {
    let (dir, root) = node();
    let device = dir.path().join("etc/device");
    if mknodat(
        CWD,
        &device,
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 5),
    )
    .is_err()
    {
        return crate::common::skip("reading a device", "making one needs root");
    }
    assert_eq!(root.entry("/etc/device"), unusable("is a device"));
}

#[test]
fn file_larger_than_the_limit_is_unusable() {
    let (dir, root) = node();
    let path = dir.path().join("etc/large");
    let limit = usize::try_from(FILE_LIMIT).unwrap();
    fs::write(&path, vec![b'#'; limit]).unwrap();
    assert_eq!(root.entry("/etc/large"), Entry::File(vec![b'#'; limit]));
    fs::write(&path, vec![b'#'; limit + 1]).unwrap();
    assert_eq!(root.entry("/etc/large"), unusable("is larger than 1048576 bytes"));
}

#[test]
fn folder_with_too_many_or_invalid_names_is_unusable() {
    let (dir, root) = node();
    let crowd = dir.path().join("etc/crowd");
    fs::create_dir(&crowd).unwrap();
    for name in 0..=FOLDER_LIMIT {
        fs::write(crowd.join(name.to_string()), "").unwrap();
    }
    assert_eq!(root.entry("/etc/crowd"), unusable("holds more than 10000 names"));
    fs::remove_file(crowd.join("0")).unwrap();
    assert!(matches!(root.entry("/etc/crowd"), Entry::Folder(names) if names.len() == FOLDER_LIMIT));
    let odd = dir.path().join("etc/odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    assert_eq!(root.entry("/etc/odd"), unusable("holds a name that is not UTF-8"));
}

#[test]
fn invalid_path_is_unusable() {
    let (_dir, root) = node();
    for path in ["", "etc", "etc/../etc", "/etc\0"] {
        assert_eq!(root.entry(path), unusable("is not an absolute path"), "{path:?}");
    }
    assert_eq!(root.entry("/../etc"), unusable("leads out of the root"));
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(root.entry(&long), unusable("cannot be read: file name too long"));
}

#[test]
fn missing_permission_differs_from_absence() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        // Root can read every file. `invalid_path_is_unusable` covers the message by another error.
        return;
    }
    let (dir, root) = node();
    let path = dir.path().join("etc/containerd/config.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(
        root.entry("/etc/containerd/config.toml"),
        unusable("cannot be read: permission denied")
    );
}

#[test]
fn root_that_is_not_a_folder_cannot_be_opened() {
    let (dir, _root) = node();
    for (path, why) in [
        ("none", "No such file"),
        ("etc/containerd/config.toml", "Not a directory"),
    ] {
        let error = Root::open(dir.path().join(path)).unwrap_err();
        assert!(matches!(error, RootError::Open { .. }));
        assert!(error.source().unwrap().to_string().contains(why), "{error:?}");
    }
    assert!(Root::open(Path::new("/")).is_ok());
}
