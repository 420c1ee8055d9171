//! Whether the kernel has an nftables table, asked without the `nft` command: one message, one answer.

use std::io;

use netlink_sys::{Socket, SocketAddr, constants::NETLINK_NETFILTER};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE`
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NFTA_TABLE_NAME`
const NAME: u16 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Lengths of `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// Whether there is a table of this family (`NFPROTO_*`) and name.
pub(crate) fn exists(family: u8, name: &str) -> io::Result<bool> {
    let mut socket = match Socket::new(NETLINK_NETFILTER) {
        // A kernel without nftables has no tables.
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(false),
        other => other?,
    };
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(family, name), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match refusal(&answer)? {
        None => Ok(true),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL) => Ok(false),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
    }
}

fn request(family: u8, name: &str) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let length = HEADERS + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(GET_TABLE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and port: one question on a socket of its own needs neither.
    message.extend([0; 8]);
    message.extend([family, 0, 0, 0]);
    message.extend((attribute as u16).to_ne_bytes());
    message.extend(NAME.to_ne_bytes());
    message.extend(name.as_bytes());
    message.resize(length, 0);
    message
}

/// The error number in an answer, `None` if it is no error.
fn refusal(answer: &[u8]) -> io::Result<Option<i32>> {
    let short = || io::Error::other("nftables gave a truncated answer");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind.ok_or_else(short)? != NLMSG_ERROR {
        return Ok(None);
    }
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    Ok(Some(code.ok_or_else(short)?.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says_and_padded() {
        for name in ["a", "evenkeel", "abc"] {
            let message = request(1, name);
            assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize, message.len());
            assert_eq!(message.len() % 4, 0);
            assert_eq!(&message[24..24 + name.len()], name.as_bytes());
        }
    }

    #[test]
    fn an_error_is_told_from_a_table_and_from_nonsense() {
        let mut answer = vec![0; 36];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(refusal(&answer).unwrap(), Some(libc::ENOENT));
        answer[4..6].copy_from_slice(&(10_u16 << 8).to_ne_bytes());
        assert_eq!(refusal(&answer).unwrap(), None);
        assert!(refusal(&[0; 3]).is_err());
    }
}
