//! Reads a journal that another program wrote in the root. It is accepted or rejected without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_node::{Root, STATE_DIR, status};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("mirrorshift-fuzz-{}", std::process::id()));
    let state = root.join(STATE_DIR.trim_start_matches('/'));
    fs::create_dir_all(&state).expect("a folder");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("its mode");
    root
});

fn read(bytes: &[u8]) -> bool {
    let journal = ROOT.join(STATE_DIR.trim_start_matches('/')).join("journal.json");
    fs::write(&journal, bytes).expect("a journal");
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).expect("its mode");
    let root = Root::open(&*ROOT).expect("a root");
    status(&root).is_ok_and(|status| {
        drop((status.phase(), format!("{status:?}")));
        true
    })
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let digest = Sha256::digest(data).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    });
    let mut sealed = format!("{{\"schema\":1,\"sha256\":\"{digest}\",\"body\":").into_bytes();
    sealed.extend_from_slice(data);
    sealed.push(b'}');
    if read(&sealed) {
        // The same body with a different digest is damaged.
        let first = if digest.starts_with('0') { "1" } else { "0" };
        let other = [first, &digest[1..]].concat();
        let text = String::from_utf8(sealed).expect("JSON is UTF-8");
        assert!(
            !read(text.replacen(&digest, &other, 1).as_bytes()),
            "a wrong digest is accepted"
        );
    }
});
