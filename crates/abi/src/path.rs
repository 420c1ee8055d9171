//! How a real server is reached: the neighbour, the interface, the tunnel's source and what fits through it.
use crate::{Addr, Mac};

/// The neighbour isn't known (yet): packets are dropped, counted, and `keeld` is told.
pub const PATH_UNRESOLVED: u32 = 0;
/// `dmac`, `smac` and `ifindex` are valid.
pub const PATH_REACHABLE: u32 = 1;

/// One next hop, shared by all services that use it: a changed MAC is one update. Every word is replaced
/// atomically; `dmac`+`mtu` and `smac`+`vlan` each fill one aligned 8-byte word, so a packet never sees half an
/// Ethernet address.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Path {
    /// Next hop's Ethernet address.
    pub dmac: Mac,
    /// Largest IP packet the interface or the route takes, bytes.
    pub mtu: u16,
    /// Our Ethernet address on `ifindex`.
    pub smac: Mac,
    /// VLAN tag to send with, 0 = untagged.
    pub vlan: u16,
    /// Interface to send on.
    pub ifindex: u32,
    /// [`PATH_REACHABLE`] or [`PATH_UNRESOLVED`].
    pub state: u32,
    /// Source of tunnel packets.
    pub local: Addr,
    /// A smaller MTU learned from "packet too big" on the way, 0 = none. Written by the packet path.
    pub learned_mtu: u32,
    /// Drops for want of a neighbour, written by the packet path.
    pub misses: u32,
    /// When `learned_mtu` was learned; it is forgotten after ten minutes (RFC 1191 §6.3).
    pub learned_ns: u64,
}
const _: () = assert!(size_of::<Path>() == 56);
