//! The appliance's hands on the network: netlink, neighbours, announcements, policy routing, nftables, BPF map batches.
//!
//! Everything speaks in addresses, MAC addresses and interface indices. Nothing here knows what a service or a
//! virtual IP is, nothing decides *when* to act, and nothing reads a clock except to bound a wait.
//! All netlink work is async and happens in the network namespace of the thread that called [`Netlink::connect`].

mod address;
pub mod announce;
pub mod bpf_batch;
mod error;
pub mod ethtool;
mod link;
mod mac;
mod neighbour;
mod netlink;
pub mod nft;
mod nft_table;
mod packets;
pub mod require;
mod route;
mod rule;
pub mod sysctl;
mod watch;

pub use address::{AddressOptions, InterfaceAddress, owner_of, suits};
pub use error::{Candidates, Cause, NetError, Result};
pub use link::{Link, Vlan};
pub use mac::{MacAddr, ParseMacError};
pub use neighbour::{Neighbour, NeighbourState};
pub use netlink::Netlink;
pub use packets::{PacketChannel, PacketPool, Transport, deaf};
pub use route::{NextHop, OUR_PROTOCOL, Route, RouteTarget};
pub use rule::PolicyRule;
pub use watch::{Event, Watch};
