//! [`install`]: the copy of the program on a node is complete, and is not written again if it is equal.

use mirrorshift_node::{OpenError, PROGRAM, Root, Session, install};
use std::fs::{
    File, {self},
};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Larger than the buffer of a read, and not a multiple of it.
const LONG: usize = 3 * 64 * 1024 + 7;

struct Node {
    dir: tempfile::TempDir,
    root: Root,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("var/lib")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        Self { dir, root }
    }

    fn copy(&self) -> PathBuf {
        self.dir.path().join(PROGRAM.trim_start_matches('/'))
    }

    /// Installs a program with this content.
    fn install(&self, bytes: &[u8]) -> Result<(), OpenError> {
        let mut program = tempfile::tempfile().unwrap();
        program.write_all(bytes).unwrap();
        install(&self.root, &mut program)
    }

    fn inode(&self) -> u64 {
        fs::metadata(self.copy()).unwrap().ino()
    }
}

fn bytes(seed: u8, length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().map(|byte| byte ^ seed).take(length).collect()
}

#[test]
fn install_replaces_the_program_only_if_it_differs() {
    let node = Node::new();
    node.install(&bytes(0, LONG)).unwrap();
    assert_eq!(fs::read(node.copy()).unwrap(), bytes(0, LONG));
    assert_eq!(fs::metadata(node.copy()).unwrap().mode() & 0o7777, 0o700);

    let first = node.inode();
    node.install(&bytes(0, LONG)).unwrap();
    assert_eq!(node.inode(), first, "the same program was written again");

    // A longer program, a shorter program, and a program with another last byte.
    let mut different_end = bytes(0, LONG);
    different_end[LONG - 1] ^= 1;
    for other in [bytes(0, LONG + 1), bytes(0, LONG - 1), different_end] {
        let before = node.inode();
        node.install(&other).unwrap();
        assert_eq!(fs::read(node.copy()).unwrap(), other);
        assert_ne!(node.inode(), before, "written in place");
    }

    // An equal file without execute permission is replaced.
    let now = fs::read(node.copy()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(node.copy(), mode).unwrap();
    node.install(&now).unwrap();
    assert_eq!(fs::metadata(node.copy()).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn install_fails_while_another_process_changes_the_node() {
    let node = Node::new();
    node.install(&bytes(0, LONG)).unwrap();
    let session = Session::open(&node.root, 1, "one").unwrap();
    assert!(matches!(node.install(&bytes(1, LONG)), Err(OpenError::Locked { .. })));
    drop(session);
    assert_eq!(fs::read(node.copy()).unwrap(), bytes(0, LONG));
}

#[test]
fn install_of_an_unreadable_program_changes_nothing() {
    let node = Node::new();
    node.install(&bytes(0, LONG)).unwrap();
    let mut folder = File::open(node.dir.path()).unwrap();
    let error = install(&node.root, &mut folder).unwrap_err();
    assert!(error.to_string().contains(PROGRAM), "{error}");
    assert_eq!(fs::read(node.copy()).unwrap(), bytes(0, LONG));
    let folder = node.copy().parent().unwrap().to_owned();
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        1,
        "a temporary file is left next to it"
    );
}
