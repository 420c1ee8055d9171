//! The connection to the kernel's route netlink: one request, its answers, bounded in time.
//!
//! The nouns (links, addresses, routes, …) each add their verbs to [`Netlink`] in their own file.

use std::{io, num::NonZeroI32, time::Duration};

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;

use crate::{NetError, Result, error::Cause};

/// The kernel answers from memory; this long means that something is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a listing is begun anew when the kernel says that it changed under our hands.
const DUMP_ATTEMPTS: u32 = 5;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation in an extended acknowledgement.
const ERROR_NOTE: u16 = 1;

/// A handle on route netlink. Cheap to clone; all clones share one socket and one background task.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Opens a netlink socket in this thread's network namespace and spawns its task on the current tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime with IO enabled.
    pub fn connect() -> Result<Self> {
        use netlink_sys::AsyncSocket;
        let connect = |source| NetError::Connect { source };
        let (mut connection, handle, _unsolicited) = rtnetlink::new_connection().map_err(connect)?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true).map_err(connect)?;
        socket.set_cap_ack(true).map_err(connect)?;
        // Without its last word, an answer cut short by a closed connection would look like success.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Sends a request that is answered by an acknowledgement alone.
    pub(crate) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Cause> {
        self.exchange(message, NLM_F_ACK | flags).await.map(drop)
    }

    /// Sends a request that is answered by one object.
    pub(crate) async fn get(&self, message: RouteNetlinkMessage) -> Result<RouteNetlinkMessage, Cause> {
        let (mut answers, _) = self.exchange(message, 0).await?;
        answers.pop().ok_or_else(|| Cause::Unexpected("nothing".into()))
    }

    /// Sends a request that is answered by a list, consistent in itself.
    pub(crate) async fn dump(&self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Cause> {
        for _ in 1..DUMP_ATTEMPTS {
            let (answers, interrupted) = self.exchange(message.clone(), NLM_F_DUMP).await?;
            if !interrupted {
                return Ok(answers);
            }
        }
        // A busy table is better listed with a seam than not at all: the watcher hears of what moved.
        Ok(self.exchange(message, NLM_F_DUMP).await?.0)
    }

    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), Cause> {
        tokio::time::timeout(PATIENCE, self.exchange_patiently(message, flags))
            .await
            .unwrap_or(Err(Cause::Timeout(PATIENCE)))
    }

    async fn exchange_patiently(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), Cause> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut replies = self.handle.clone().request(request).map_err(|_| Cause::Closed)?;
        let (mut answers, mut interrupted) = (Vec::new(), false);
        let one_object = flags & (NLM_F_ACK | NLM_F_DUMP) == 0;
        while let Some(reply) = replies.next().await {
            interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            match reply.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Error(error) => {
                    return refused(error.code, &error.header).map(|()| (answers, interrupted));
                }
                NetlinkPayload::Done(done) => {
                    return refused(NonZeroI32::new(done.code), &[]).map(|()| (answers, interrupted));
                }
                NetlinkPayload::Overrun(_) => return Err(Cause::Unexpected("overrun".into())),
                _ => {}
            }
            if one_object && !answers.is_empty() {
                return Ok((answers, interrupted));
            }
        }
        Err(Cause::Closed)
    }
}

fn refused(code: Option<NonZeroI32>, after_code: &[u8]) -> Result<(), Cause> {
    match code {
        None => Ok(()),
        Some(code) => Err(Cause::Kernel {
            source: io::Error::from_raw_os_error(code.get().abs()),
            note: explanation(after_code),
        }),
    }
}

/// Finds the sentence in what follows an error code: the 16-byte header of the request, then attributes.
fn explanation(after_code: &[u8]) -> Option<String> {
    let mut rest = after_code.get(16..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(0..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        if kind == ERROR_NOTE {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches(['\0', '.']).to_owned());
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_found_after_other_attributes() {
        let mut bytes = vec![0; 16];
        bytes.extend([8, 0, 2, 0, 9, 9, 9, 9]);
        bytes.extend([9, 0, 1, 0]);
        bytes.extend(b"nope\0\0\0\0");
        assert_eq!(explanation(&bytes), Some("nope".to_owned()));
    }

    #[test]
    fn a_truncated_acknowledgement_has_no_sentence() {
        assert_eq!(explanation(&[0; 16]), None);
        assert_eq!(explanation(&[0; 20]), None);
        assert_eq!(explanation(&[0; 3]), None);
    }
}
