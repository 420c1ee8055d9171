//! Leases: for a short time a connection's packets go where its last one went, without a look into the connection
//! table. One lease is one line of the processor's cache; the kernel's hash table asks for three, one after the other,
//! and where tables are larger than the processor's caches that is most of what a packet costs.
//!
//! A lease is a copy, never the truth: packets that may change a connection's state don't use it, it ends by itself, and
//! whoever removes a connection revokes it.
use crate::{FlowKey, IPPROTO_UDP, Mac};

/// Ways a flow's lease may lie: so many lines follow each other in one set.
pub const LEASE_WAYS: usize = 4;

/// Bits of nanoseconds in a tick: a tick is about a millisecond.
const TICK_BITS: u32 = 20;

/// No lease is longer, in ticks. A word of ticks wraps after 52 days; what is further away than this is over.
const LONGEST: u32 = 1 << 13;

/// Ticks of a clock in nanoseconds.
#[inline(always)]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_BITS) as u32
}

/// Bits of [`Lease::flags`].
pub mod flags {
    /// For packets from the server (NAT).
    pub const REVERSE: u8 = 1;
    /// UDP, not TCP.
    pub const UDP: u8 = 2;
}

/// One lease. 64 bytes, one cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// Counts writings: odd while one is under way. Whoever reads looks at it before and after.
    pub sequence: u32,
    /// The tick at which it ends.
    pub until: u32,
    /// Source and destination address of its packets.
    pub ends: [u64; 4],
    /// Both ports as in the header, source first.
    pub ports: u32,
    /// Index into the servers map.
    pub server: u32,
    /// The low bits of the server's generation.
    pub generation: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Reverse: the VIP's port.
    pub vport_be: u16,
    /// Reverse: the client's next hop. Forward: what the client's frames come from.
    pub dmac: Mac,
    /// Reverse: slot of the interface the client is reached by.
    pub interface: u16,
    /// Reverse: VLAN tags outside in, 0 = none.
    pub vlan: [u16; 2],
}
const _: () = assert!(size_of::<Lease>() == 64);

/// Where one flow's lease may lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseSet {
    /// The ways.
    pub ways: [Lease; LEASE_WAYS],
}
const _: () = assert!(size_of::<LeaseSet>() == 256);

/// The parts of a flow's key as they stand in its lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseKey {
    /// See [`Lease::ends`].
    pub ends: [u64; 4],
    /// See [`Lease::ports`].
    pub ports: u32,
    /// [`flags::UDP`] or nothing.
    pub transport: u8,
}

impl LeaseKey {
    /// Of TCP or UDP.
    #[inline(always)]
    pub const fn new(key: &FlowKey) -> Self {
        let (s, d) = (&key.src.0, &key.dst.0);
        Self {
            ends: [pair(s[0], s[1]), pair(s[2], s[3]), pair(d[0], d[1]), pair(d[2], d[3])],
            ports: key.sport_be as u32 | (key.dport_be as u32) << 16,
            transport: if key.proto == IPPROTO_UDP { flags::UDP } else { 0 },
        }
    }

    /// Whether `lease` is this flow's.
    #[inline(always)]
    pub const fn is_of(&self, lease: &Lease) -> bool {
        self.ports == lease.ports
            && self.ends[3] == lease.ends[3]
            && self.ends[1] == lease.ends[1]
            && self.ends[0] == lease.ends[0]
            && self.ends[2] == lease.ends[2]
            && self.transport == lease.flags & flags::UDP
    }
}

#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// Whether a lease that ends at tick `until` still runs.
#[inline(always)]
pub const fn runs(until: u32, now: u32) -> bool {
    until.wrapping_sub(now).wrapping_sub(1) < LONGEST
}

/// How long a lease may be where idle connections end after `shortest_s` seconds, in ticks: a quarter of it, so that a
/// connection in use never looks idle, and four seconds at most.
pub const fn lease_ticks(shortest_s: u32) -> u32 {
    const FOUR_SECONDS: u64 = 4_000_000_000;
    let quarter = shortest_s as u64 * 250_000_000;
    ticks(if quarter < FOUR_SECONDS { quarter } else { FOUR_SECONDS })
}

/// How many sets the leases of so many entries are best spread over: dense enough for the processor's caches and its
/// memory of page addresses, wide enough that a flow finds a free way. A power of two, at most `limit`, which is one too.
pub const fn sets_for(entries: u64, limit: u32) -> u32 {
    const FEWEST: u64 = 256;
    let wanted = (entries * 2 / LEASE_WAYS as u64).next_power_of_two();
    let wanted = if wanted < FEWEST { FEWEST } else { wanted };
    if wanted < limit as u64 { wanted as u32 } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, IPPROTO_TCP};

    fn key(n: u32, proto: u8) -> FlowKey {
        FlowKey { src: Addr::v4(n), dst: Addr::v4(7), sport_be: 1, dport_be: 2, proto, pad: [0; 3] }
    }

    fn lease(key: &FlowKey) -> Lease {
        let LeaseKey { ends, ports, transport } = LeaseKey::new(key);
        Lease { ends, ports, flags: transport | flags::REVERSE, ..Lease::default() }
    }

    #[test]
    fn a_lease_is_of_its_flow_alone() {
        let one = key(1, IPPROTO_TCP);
        assert!(LeaseKey::new(&one).is_of(&lease(&one)));
        let others = [
            key(2, IPPROTO_TCP),
            key(1, IPPROTO_UDP),
            FlowKey { sport_be: 9, ..one },
            FlowKey { dport_be: 9, ..one },
            FlowKey { dst: Addr::v4(8), ..one },
            FlowKey { src: Addr([1, 0, 0xffff_0000, 1]), ..one },
            FlowKey { dst: Addr([0, 0, 0, 7]), ..one },
            one.reversed(),
        ];
        for other in others {
            assert!(!LeaseKey::new(&other).is_of(&lease(&one)), "{other:?}");
        }
    }

    #[test]
    fn no_flow_has_the_key_of_an_empty_line() {
        // A revoked line is all zero; port 0 to port 0 from :: to :: is no packet that any server gets.
        let zero = FlowKey { proto: IPPROTO_TCP, ..FlowKey::default() };
        assert!(LeaseKey::new(&zero).is_of(&Lease::default()));
        assert!(!runs(Lease::default().until, ticks(1 << 40)));
    }

    #[test]
    fn it_ends_and_does_not_come_back() {
        for start in [0u32, 1, 77, u32::MAX - 3000, u32::MAX] {
            let until = start.wrapping_add(lease_ticks(900));
            assert!(runs(until, start) && runs(until, until.wrapping_sub(1)));
            for later in [0, 1, 1000, 1 << 20, 1 << 31, u32::MAX - LONGEST] {
                assert!(!runs(until, until.wrapping_add(later)), "{start} + {later}");
            }
        }
    }

    #[test]
    fn it_is_a_quarter_of_the_idle_limit_and_four_seconds_at_most() {
        for (seconds, milliseconds) in
            [(1, 250), (2, 500), (10, 2500), (16, 4000), (900, 4000), (u32::MAX, 4000)]
        {
            let got = u64::from(lease_ticks(seconds)) << TICK_BITS;
            assert!(
                got <= milliseconds * 1_000_000 && got > (milliseconds - 3) * 1_000_000,
                "{seconds}: {got}"
            );
            assert!(lease_ticks(seconds) < LONGEST);
        }
    }

    #[test]
    fn sets_follow_the_entries() {
        for (entries, limit, sets) in [
            (0, 1 << 20, 256),
            (512, 1 << 20, 256),
            (514, 1 << 20, 512),
            (65_536, 1 << 20, 32_768),
            (1_000_000, 1 << 20, 524_288),
            (10_000_000, 1 << 17, 1 << 17),
        ] {
            assert_eq!(sets_for(entries, limit), sets, "{entries}");
        }
    }
}
