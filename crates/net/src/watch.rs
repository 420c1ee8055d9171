//! What changes in the kernel, as a stream of typed events.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, SocketAddr};
use rtnetlink::MulticastGroup;

use crate::{InterfaceAddress, Link, Neighbour, NetError, Netlink, PolicyRule, Result, Route};

/// Room for a burst of events while the daemon is busy, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Something changed in the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An interface appeared or changed.
    Link(Link),
    /// The interface of this index is gone.
    LinkGone(u32),
    /// An address appeared or changed, for example passed duplicate address detection.
    Address(InterfaceAddress),
    /// An address is gone.
    AddressGone(InterfaceAddress),
    /// A route appeared or was replaced.
    Route(Route),
    /// A route is gone.
    RouteGone(Route),
    /// A rule of ours is gone.
    RuleGone(PolicyRule),
    /// A neighbour appeared or changed its state or MAC address.
    Neighbour(Neighbour),
    /// A neighbour was forgotten.
    NeighbourGone {
        /// Index of the interface it was on.
        interface: u32,
        /// Its address.
        address: IpAddr,
    },
    /// Events were lost because nobody read them in time: list everything anew.
    Lost,
}

/// A subscription to changes of links, addresses, routes, rules of ours and neighbours. Ends when its runtime does.
///
/// Subscribe first and list afterwards: what changes in between is then in the stream, at worst twice.
pub struct Watch {
    messages: Messages,
}

type Message = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);
type Messages = Pin<Box<dyn Stream<Item = Message> + Send>>;

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Netlink {
    /// Subscribes to changes in this thread's network namespace.
    ///
    /// # Errors
    /// [`NetError::Connect`].
    pub fn watch() -> Result<Watch> {
        let connect = |source| NetError::Connect { source };
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&GROUPS).map_err(connect)?;
        connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER).map_err(connect)?;
        tokio::spawn(connection);
        Ok(Watch { messages: Box::pin(messages) })
    }
}

impl Watch {
    /// The next event; `None` when the subscription ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.next().await
    }
}

impl Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match std::task::ready!(self.messages.as_mut().poll_next(cx)) {
                None => return Poll::Ready(None),
                Some((message, _)) => {
                    if let Some(event) = interpret(message.payload) {
                        return Poll::Ready(Some(event));
                    }
                }
            }
        }
    }
}

fn interpret(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Event> {
    use RouteNetlinkMessage as M;
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Event::Lost),
        _ => return None,
    };
    match message {
        // The bridge announces its ports in a family of its own, without the rest of what a link has.
        M::NewLink(m) if is_bridge_port_notice(&m) => None,
        M::DelLink(m) if is_bridge_port_notice(&m) => None,
        M::NewLink(m) => Some(Event::Link(Link::parse(&m))),
        M::DelLink(m) => Some(Event::LinkGone(m.header.index)),
        M::NewAddress(m) => InterfaceAddress::parse(&m).map(Event::Address),
        M::DelAddress(m) => InterfaceAddress::parse(&m).map(Event::AddressGone),
        M::NewRoute(m) => Route::parse(&m).map(Event::Route),
        M::DelRoute(m) => Route::parse(&m).map(Event::RouteGone),
        M::DelRule(m) => PolicyRule::parse(&m).map(Event::RuleGone),
        M::NewNeighbour(m) => Neighbour::parse(&m).map(Event::Neighbour),
        M::DelNeighbour(m) => {
            Neighbour::parse(&m).map(|n| Event::NeighbourGone { interface: n.interface, address: n.address })
        }
        _ => None,
    }
}

fn is_bridge_port_notice(message: &netlink_packet_route::link::LinkMessage) -> bool {
    message.header.interface_family == netlink_packet_route::AddressFamily::Bridge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overrun_asks_for_a_new_listing() {
        assert_eq!(interpret(NetlinkPayload::Overrun(Vec::new())), Some(Event::Lost));
    }
}
