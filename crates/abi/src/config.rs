//! The one-slot settings map and the interfaces map.

use crate::Mac;

/// Version of the layout of all pinned maps: `/sys/fs/bpf/evenkeel/v<LAYOUT>/`. Raise it with any change to a
/// key, a value or the meaning of a field.
pub const LAYOUT: u32 = 3;

/// VIP traffic is forwarded.
pub const ROLE_ACTIVE: u32 = 1;
/// Every packet goes to the kernel untouched: the peer forwards (no DR loops when a node is also a server).
pub const ROLE_PASSIVE: u32 = 0;

/// Default size of the half-open table, entries.
pub const HALF_OPEN_DEFAULT: u32 = 131_072;

/// What a connection's idle time is measured against.
pub mod timeout_class {
    /// SYN seen, handshake not complete.
    pub const TCP_SYN: u32 = 0;
    /// Established.
    pub const TCP_ESTABLISHED: u32 = 1;
    /// A FIN was seen.
    pub const TCP_FIN: u32 = 2;
    /// A RST was seen.
    pub const TCP_CLOSE: u32 = 3;
    /// UDP.
    pub const UDP: u32 = 4;
}
/// How many classes there are.
pub const TIMEOUT_CLASSES: usize = 5;

/// Settings every packet reads.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// [`ROLE_ACTIVE`] or [`ROLE_PASSIVE`].
    pub role: u32,
    /// 1 if any service uses NAT, so that replies have to be looked for.
    pub nat: u32,
    /// Seed of [`crate::flow_hash`]; the same on both nodes of a pair.
    pub seed: u64,
    /// New flows per second and CPU above which the ring alone decides and nothing is remembered.
    pub flood_per_second: u32,
    /// ICMP errors and resets this node makes, per second and CPU.
    pub icmp_per_second: u32,
    /// Number of sets of leases in use, less one.
    pub lease_mask: u32,
    /// Always zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<Config>() == 32);

/// An interface the program runs on or sends to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interface {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Always zero.
    pub pad: u16,
    /// Its index; 0 = the slot is free. The slot is the index modulo [`INTERFACE_SLOTS`].
    pub ifindex: u32,
    /// Always zero.
    pub pad2: u32,
}
const _: () = assert!(size_of::<Interface>() == 16);

/// Size of the interfaces array. Two interfaces of one slot can't both be used; `keeld` refuses the second.
pub const INTERFACE_SLOTS: u32 = 1024;
