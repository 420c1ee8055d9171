//! Telling the neighbourhood that an address is here now: gratuitous ARP and unsolicited neighbour advertisements.
//!
//! [`arp`] and [`ndp`] build frames and touch nothing; [`Schedule`] says when and reads no clock; [`FrameSocket`] sends.

pub mod arp;
pub mod ndp;
mod schedule;
mod socket;

pub use schedule::Schedule;
pub(crate) use socket::packet_address;
pub use socket::{Announcer, FrameSocket};

use std::net::IpAddr;

use crate::MacAddr;

/// The frames that announce `address` at `mac`, in the order to send them.
///
/// IPv4 needs both forms of gratuitous ARP: some stacks learn from requests only, some from replies only.
/// `router` says whether `mac` forwards IPv6 packets (see [`ndp::unsolicited_advertisement`]).
pub fn frames(address: IpAddr, mac: MacAddr, router: bool) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(ip) => {
            vec![arp::gratuitous_request(mac, ip).to_vec(), arp::gratuitous_reply(mac, ip).to_vec()]
        }
        IpAddr::V6(ip) => vec![ndp::unsolicited_advertisement(mac, ip, router).to_vec()],
    }
}
