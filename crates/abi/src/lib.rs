//! What the kernel and userspace sides of the dataplane agree on: the keys and values of every map, and the
//! pure packet logic (parsing, checksums, rewriting, TCP states, scheduling, Maglev) that runs in XDP and in
//! host tests alike. It does no input or output, reads no clock and allocates nothing on the packet path.
//!
//! Conventions: no `bool`, `enum` or `Option` crosses the boundary; every struct is `#[repr(C)]` with explicit
//! padding and a size assertion; addresses and ports are in network byte order and say so (`port_be`).
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait, and slices are read at any alignment")]

mod address;
#[cfg(feature = "user")]
mod bytes;
mod checksum;
mod config;
mod connection;
mod drop_reason;
mod encap;
mod flow;
mod frame;
mod hash;
mod icmp;
mod lease;
#[cfg(any(test, feature = "user"))]
pub mod maglev;
mod parse;
mod path;
#[cfg(feature = "user")]
mod pod;
mod ports;
mod reap;
mod rewrite;
mod schedule;
mod server;
mod stats;
mod table;
mod tcp;

pub use address::{Addr, Mac, mac};
#[cfg(feature = "user")]
pub use bytes::{as_bytes, from_bytes};
pub use checksum::{fold, header_sum, replace_addr, replace_port, replace16};
pub use config::{
    Config, HALF_OPEN_DEFAULT, INTERFACE_SLOTS, Interface, LAYOUT, ROLE_ACTIVE, ROLE_PASSIVE,
    TIMEOUT_CLASSES, timeout_class,
};
pub use connection::{Connection, Direction, flags as connection_flags};
pub use drop_reason::DropReason;
pub use encap::{Encap, GUE_PORT, write_outer};
pub use flow::{FlowKey, FragmentKey, FragmentPorts, NatServerKey, NatServerValue, PersistKey, PersistValue};
pub use frame::{Frame, FrameMut, Plain, SliceFrame};
pub use hash::{flow_hash, mix, persistent_client, ring_hash, source_hash};
pub use icmp::{IcmpKind, InnerFlow, ResetTo, inner_flow, write_icmp_error, write_tcp_reset};
pub use lease::{
    LEASE_WAYS, Lease, LeaseHead, LeaseMark, LeaseSet, MarkKeys, MarkRow, lease_ticks, runs, sets_for, ticks,
};
pub use parse::{FragmentPart, Packet, Parsed, parse};
pub use path::{PATH_REACHABLE, PATH_UNRESOLVED, Path};
pub use ports::{PortBlock, PortKey, blocks, lookup_order};
pub use reap::{REAP_BATCH, REAP_ETHERTYPE, ReapRecord, reap_kind};
pub use rewrite::{decrement_ttl, icmp_forward, icmp_reverse, nat_forward, nat_reverse, set_ethernet};
pub use schedule::{Best, Candidates, Choice, Eligibility, Load, choose, eligibility, ring_choice};
pub use server::{MODE_DR, MODE_GUE, MODE_NAT, MODE_TUN, Server, Standing, policy, state};
pub use stats::{ServerStats, TrafficStats};
pub use table::{
    CHUNK_BYTES, Chunk, Cost, MAX_EXACT_MEMBERS, MEMBERS_PER_CHUNK, Member, RING_SLOTS_PER_CHUNK,
    TableHeader, chunks_for, is_weighted, scheduler, service_flags,
};
pub use tcp::{TcpState, flags as tcp_flags, next_state};

/// IP protocol number of TCP (RFC 9293).
pub const IPPROTO_TCP: u8 = 6;
/// IP protocol number of UDP (RFC 768).
pub const IPPROTO_UDP: u8 = 17;
/// IP protocol number of ICMP (RFC 792).
pub const IPPROTO_ICMP: u8 = 1;
/// Next-header value of ICMPv6 (RFC 4443).
pub const IPPROTO_ICMPV6: u8 = 58;
