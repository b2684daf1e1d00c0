//! Gives every name an address, known or not: a name server that has one answer to everything, and the three files that make
//! Go's resolver and the C library's ask it. A list of names would have to be complete, and the plan that is being tested
//! would have made it.

use rustix::mount::mount_bind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::{fs, io};
use tokio::net::UdpSocket;

/// Of a block that is for documentation alone; in the sandbox every address is its own.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Each file with what it says in the sandbox.
const FILES: [(&str, &str); 3] = [
    (
        "/etc/resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
    ),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// Puts these files over the node's, in the sandbox's own mounts. Where there is none, the resolvers do the same by
/// themselves.
pub(super) fn resolve_all_to_loopback() -> io::Result<()> {
    // systemd's private one.
    let folder = Path::new("/tmp/mirrorshift-names");
    fs::create_dir(folder)?;
    for (path, text) in FILES {
        let source = folder.join(path.trim_start_matches("/etc/"));
        fs::write(&source, text)?;
        match fs::canonicalize(path) {
            Ok(real) => mount_bind(&source, real)?,
            // A link into /run, which is empty here.
            Err(_) => {
                if let Ok(target) = fs::read_link(path) {
                    let target = Path::new("/etc").join(target);
                    target.parent().map_or(Ok(()), fs::create_dir_all)?;
                    fs::write(target, text)?;
                }
            }
        }
    }
    Ok(())
}

/// Answers questions for ever.
pub(super) async fn serve(socket: UdpSocket) {
    let mut question = [0_u8; 1500];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else {
            return;
        };
        if let Some(answer) = question.get(..length).and_then(answer) {
            // Whoever asked asks again.
            socket.send_to(&answer, from).await.ok();
        }
    }
}

/// RFC 1035, section 4: the one address for a question of type A, and no entry for any other type.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const TYPE_A: [u8; 4] = [0, 1, 0, 1];
    let mut at = HEADER;
    loop {
        match *question.get(at)? {
            0 => break,
            length if length < 64 => at += usize::from(length) + 1,
            _ => return None,
        }
    }
    let kind = question.get(at + 1..at + 5)?;
    let has = kind == TYPE_A;
    let mut answer = question.get(..2)?.to_vec();
    // A response to a standard question, recursion available; one question, at most one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(has), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..at + 5)?);
    if has {
        // The name as above, type and class, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        question.extend(b"\x04ghcr\x02io\x00");
        question.extend([0, kind, 0, 1]);
        // What follows the question, as an additional section, is not repeated.
        question.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        question
    }

    #[test]
    fn every_name_has_the_one_address_and_none_of_another_kind() {
        let known = answer(&question(1)).unwrap();
        assert_eq!(known[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(known[12..25], question(1)[12..25]);
        assert!(known.ends_with(&ADDRESS.octets()));
        let none = answer(&question(28)).unwrap();
        assert_eq!((none[7], none.len()), (0, 25));
    }

    #[test]
    fn what_is_cut_off_has_no_answer() {
        let whole = question(1);
        for length in 0..25 {
            assert_eq!(answer(&whole[..length]), None, "{length}");
        }
    }
}
