//! Keys and small values of the flow-shaped maps.
use crate::Addr;

/// One direction of a flow, as the packet's header says it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub sport_be: u16,
    /// Destination port.
    pub dport_be: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Always zero: keys are compared byte by byte.
    pub pad: [u8; 3],
}
const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// The same flow seen from the other end.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport_be: self.dport_be,
            dport_be: self.sport_be,
            proto: self.proto,
            pad: [0; 3],
        }
    }
}

/// Fragments of one datagram (RFC 791 §3.2; RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FragmentKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Identification: 16 bits for IPv4, 32 for IPv6, as on the wire.
    pub id: u32,
    /// IP protocol number of the datagram.
    pub proto: u8,
    /// Always zero.
    pub pad: [u8; 3],
}
const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What the first fragment told: the ports the later ones lack.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FragmentPorts {
    /// Source port.
    pub sport_be: u16,
    /// Destination port.
    pub dport_be: u16,
    /// Always zero.
    pub pad: u32,
    /// When the first fragment passed: monotonic coarse nanoseconds.
    pub seen_ns: u64,
}
const _: () = assert!(size_of::<FragmentPorts>() == 16);

/// A client (or its network) that sticks to one server of a service.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PersistKey {
    /// The client's address, masked with the service's prefix.
    pub client: Addr,
    /// Service slot.
    pub service: u32,
}
const _: () = assert!(size_of::<PersistKey>() == 20);

/// Which server a persistent client has.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PersistValue {
    /// Index into the servers map.
    pub server: u32,
    /// The server's generation at the time; a mismatch means "gone".
    pub generation: u32,
    /// When the entry stops counting: monotonic coarse nanoseconds.
    pub expires_ns: u64,
}
const _: () = assert!(size_of::<PersistValue>() == 16);

/// A real server's listening end in NAT mode, from which replies come.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct NatServerKey {
    /// The real server.
    pub addr: Addr,
    /// Its port.
    pub port_be: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Always zero.
    pub pad: u8,
}
const _: () = assert!(size_of::<NatServerKey>() == 20);

/// The one virtual service a NAT server's end belongs to, when it is only one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NatServerValue {
    /// The virtual address.
    pub vip: Addr,
    /// Index into the servers map.
    pub server: u32,
    /// The virtual port.
    pub vport_be: u16,
    /// 1 if several services share this end: replies without a connection entry can't be told apart.
    pub ambiguous: u16,
}
const _: () = assert!(size_of::<NatServerValue>() == 24);
