//! Gives every name an address: a name server that has the same answer to every question, and the three files that make
//! Go's resolver and the C library's query it. A list of names would have to be complete, and could only come from the
//! plan that is being tested.

use rustix::mount::mount_bind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::{fs, io};
use tokio::net::UdpSocket;

/// An address of a block that is reserved for documentation (RFC 5737). In the sandbox every address belongs to the
/// sandbox.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The resolver's files, and their contents in the sandbox.
const FILES: [(&str, &str); 3] = [
    (
        "/etc/resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
    ),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// Mounts these files over those of the node, in the sandbox's own mount namespace. If a node does not have one of
/// them, the resolvers behave as if it had these contents.
pub(super) fn resolve_all_to_loopback() -> io::Result<()> {
    // /tmp is private to the unit.
    let folder = Path::new("/tmp/mirrorshift-names");
    fs::create_dir(folder)?;
    for (path, text) in FILES {
        let source = folder.join(path.trim_start_matches("/etc/"));
        fs::write(&source, text)?;
        match fs::canonicalize(path) {
            Ok(real) => mount_bind(&source, real)?,
            // The file is a link into /run, which is empty in the sandbox.
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

/// Answers questions until the process ends.
pub(super) async fn serve(socket: UdpSocket) {
    let mut question = [0_u8; 1500];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut question).await else {
            return;
        };
        if let Some(answer) = question.get(..length).and_then(answer) {
            // An error is ignored: the client repeats its question.
            socket.send_to(&answer, from).await.ok();
        }
    }
}

/// Answers a question (RFC 1035, section 4): the one address for type A, and no entry for any other type.
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
    let is_address = kind == TYPE_A;
    let mut answer = question.get(..2)?.to_vec();
    // A response to a standard question, recursion available; one question, at most one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question.get(HEADER..at + 5)?);
    if is_address {
        // A pointer to the name above, type and class, a time to live of one minute, four bytes.
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
        // Records after the question, such as this additional one, are not repeated in the answer.
        question.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        question
    }

    #[test]
    fn answer_has_the_address_only_for_type_a() {
        let known = answer(&question(1)).unwrap();
        assert_eq!(known[..12], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(known[12..25], question(1)[12..25]);
        assert!(known.ends_with(&ADDRESS.octets()));
        let none = answer(&question(28)).unwrap();
        assert_eq!((none[7], none.len()), (0, 25));
    }

    #[test]
    fn answer_is_none_for_a_truncated_question() {
        let whole = question(1);
        for length in 0..25 {
            assert_eq!(answer(&whole[..length]), None, "{length}");
        }
    }
}
