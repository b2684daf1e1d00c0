//! Routes every address to the sandbox itself, like `ip route add local 0.0.0.0/0 dev lo`. The request is a single
//! message of rtnetlink(7), written here because a node need not have iproute2.

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const RTM_NEWROUTE: u16 = 24;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_CREATE`.
const FLAGS: u16 = 0x1 | 0x4 | 0x400;
const NLMSG_ERROR: u16 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;

/// Adds the route for both address families. It is not needed for IPv6 if the kernel has no IPv6.
pub(super) fn route_all_to_loopback() -> Result<(), Errno> {
    add(AddressFamily::INET)?;
    match add(AddressFamily::INET6) {
        Ok(()) | Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM | Errno::NODEV) => Ok(()),
        Err(error) => Err(error),
    }
}

fn add(family: AddressFamily) -> Result<(), Errno> {
    // Netlink protocol 0 is `NETLINK_ROUTE`.
    let netlink = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // systemd has brought the interface up.
    let lo = name_to_index(&netlink, "lo")?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&netlink, &request(family, lo), SendFlags::empty(), &kernel)?;
    let mut answer = [0_u8; 256];
    let (length, _) = recv(&netlink, &mut answer[..], RecvFlags::empty())?;
    parse_acknowledgement(&answer[..length.min(answer.len())])
}

/// Encodes `struct nlmsghdr`, `struct rtmsg` and one `struct rtattr`, in the machine's byte order.
fn request(family: AddressFamily, lo: u32) -> Vec<u8> {
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut body = vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    body.extend(8_u16.to_ne_bytes());
    body.extend(RTA_OIF.to_ne_bytes());
    body.extend(lo.to_ne_bytes());
    let length = u32::try_from(16 + body.len()).unwrap_or_default();
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(RTM_NEWROUTE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

/// Reads the number in `struct nlmsgerr`: 0, or a negated error number.
fn parse_acknowledgement(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), error.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(-error)),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_its_length_in_its_header() {
        let message = request(AddressFamily::INET, 1);
        assert_eq!(message.len(), 36);
        assert_eq!(message[..4], 36_u32.to_ne_bytes());
        assert_eq!(message[32..], 1_u32.to_ne_bytes());
    }

    #[test]
    fn parse_acknowledgement_fails_for_a_truncated_answer() {
        let answer = |error: i32| {
            let mut bytes = vec![0; 36];
            bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert_eq!(parse_acknowledgement(&answer(0)), Ok(()));
        assert_eq!(parse_acknowledgement(&answer(-1)), Err(Errno::PERM));
        assert_eq!(parse_acknowledgement(&answer(0)[..10]), Err(Errno::PROTO));
        assert_eq!(parse_acknowledgement(&[]), Err(Errno::PROTO));
    }
}
