//! Leases: for a short time a connection's packets go where its last one went, without a look into the connection
//! table. A lease is half a line of the processor's cache; the kernel's hash table asks for three lines, one after the
//! other, and where tables are larger than the processor's caches that is most of what a packet costs.
//!
//! A lease is a copy, never the truth: packets that may change a connection's state don't use it, it ends by itself, and
//! whoever removes a connection revokes it.
//!
//! It names its flow by a mark of 96 bits instead of by addresses and ports. Marks are strongly universal hashes
//! (multilinear, Carter and Wegman) with random keys that nobody outside learns: whatever flows somebody chooses, any two
//! have the same mark with a probability of 2⁻⁹⁶.
use crate::{FlowKey, Mac};

/// Ways a flow's lease may lie in its set. Two of them share a line.
pub const LEASE_WAYS: usize = 4;

/// Bits of nanoseconds in a tick: a tick is about a millisecond.
const TICK_BITS: u32 = 20;

/// No lease is longer, in ticks. A word of ticks wraps after 52 days; what is further away than this is over.
const LONGEST: u32 = 1 << 14;

/// Ticks of a clock in nanoseconds.
#[inline(always)]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_BITS) as u32
}

/// One lease. 32 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// What is read and written as a whole.
    pub head: LeaseHead,
    /// The flow.
    pub mark: LeaseMark,
    /// Index into the servers map.
    pub server: u16,
    /// Reverse: the VIP's port.
    pub vport_be: u16,
    /// NAT: the client's next hop, which is what its frames come from.
    pub dmac: Mac,
    /// NAT: the VLAN tag of the client's frames, 0 = none.
    pub vlan: u16,
}
const _: () = assert!(size_of::<Lease>() == 32);

/// The first word of a lease, from the lowest bit on: the tick at which it ends (32), the sequence number, which is odd
/// while somebody is writing (8), the low bits of the server's generation (8), the slot of the interface that the client
/// is reached by (10), whether it is for packets from the server (1).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseHead(pub u64);

const SEQUENCE_AT: u32 = 32;
const GENERATION_AT: u32 = 40;
const INTERFACE_AT: u32 = 48;
const INTERFACE_BITS: u32 = 10;
const REVERSE_AT: u32 = 58;
const _: () = assert!(crate::INTERFACE_SLOTS == 1 << INTERFACE_BITS);

impl LeaseHead {
    /// For packets to a server whose generation ends with these bits, which come in by the interface in `slot`.
    #[inline(always)]
    pub const fn forward(generation: u8, slot: u32) -> Self {
        let slot = (slot & ((1 << INTERFACE_BITS) - 1)) as u64;
        Self((generation as u64) << GENERATION_AT | slot << INTERFACE_AT)
    }

    /// For packets from such a server, which leave by the interface in `slot`.
    #[inline(always)]
    pub const fn reverse(generation: u8, slot: u32) -> Self {
        Self(Self::forward(generation, slot).0 | 1 << REVERSE_AT)
    }

    /// The tick at which it ends.
    #[inline(always)]
    pub const fn until(self) -> u32 {
        self.0 as u32
    }

    /// The same with another end and sequence number.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, until: u32, sequence: u8) -> Self {
        let rest = self.0 & !(0xff << SEQUENCE_AT | 0xffff_ffff);
        Self(rest | (sequence as u64) << SEQUENCE_AT | until as u64)
    }

    /// Counts writings.
    #[inline(always)]
    pub const fn sequence(self) -> u8 {
        (self.0 >> SEQUENCE_AT) as u8
    }

    /// Whether somebody is writing the lease.
    #[inline(always)]
    pub const fn is_taken(self) -> bool {
        self.sequence() & 1 != 0
    }

    /// The low bits of the server's generation.
    #[inline(always)]
    pub const fn generation(self) -> u8 {
        (self.0 >> GENERATION_AT) as u8
    }

    /// The slot of the interface that the client is reached by.
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        (self.0 >> INTERFACE_AT) as u32 & ((1 << INTERFACE_BITS) - 1)
    }

    /// Whether it is for packets from the server.
    #[inline(always)]
    pub const fn is_reverse(self) -> bool {
        self.0 >> REVERSE_AT & 1 != 0
    }
}

/// Where one flow's lease may lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaseSet {
    /// The ways.
    pub ways: [Lease; LEASE_WAYS],
}
const _: () = assert!(size_of::<LeaseSet>() == 128);

/// A flow's mark.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeaseMark(pub [u32; MARK_WORDS]);

const MARK_WORDS: usize = 3;
const KEY_WORDS: usize = size_of::<FlowKey>() / 4;

/// The random keys that marks are made with, one row for each word of a mark. Secret.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_debug_implementations, reason = "nothing should print them")]
pub struct MarkKeys(pub [MarkRow; MARK_WORDS]);

/// A factor for each word of a flow's key, and a summand.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_debug_implementations, reason = "nothing should print them")]
pub struct MarkRow(pub [u64; KEY_WORDS + 1]);

impl MarkKeys {
    /// The mark of a flow.
    #[inline(always)]
    pub const fn mark(&self, key: &FlowKey) -> LeaseMark {
        let [first, second, third] = &self.0;
        LeaseMark([first.word(key), second.word(key), third.word(key)])
    }
}

impl MarkRow {
    /// One word of a flow's mark.
    #[inline(always)]
    pub const fn word(&self, key: &FlowKey) -> u32 {
        let (s, d) = (&key.src.0, &key.dst.0);
        let ports = key.sport_be as u32 | (key.dport_be as u32) << 16;
        let words = [s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3], ports, key.proto as u32];
        let mut sum = self.0[KEY_WORDS];
        let mut i = 0;
        while i < KEY_WORDS {
            sum = sum.wrapping_add(self.0[i].wrapping_mul(words[i] as u64));
            i += 1;
        }
        (sum >> 32) as u32
    }
}

impl LeaseMark {
    /// The set, in as many as `mask` says, where the flow's lease lies. A word alone would lay flows in a row (ports that one
    /// client takes one after the other) as regularly as its factor makes them: evenly as a rule, and with an unlucky factor
    /// nearly all of them in a few sets. In a product of two words nothing is regular.
    #[inline(always)]
    pub const fn set(&self, mask: u32) -> u32 {
        let product = self.0[0] as u64 * (self.0[1] | 1) as u64;
        (product >> 24) as u32 & mask
    }

    /// The `turn`th way to look at: first the two in one line, then those in the other.
    #[inline(always)]
    pub const fn way(&self, turn: u32) -> usize {
        (self.0[1] ^ turn) as usize % LEASE_WAYS
    }
}

/// Whether a lease that ends at tick `until` still runs.
#[inline(always)]
pub const fn runs(until: u32, now: u32) -> bool {
    until.wrapping_sub(now).wrapping_sub(1) < LONGEST
}

/// How long a lease may be where idle connections end after `shortest_s` seconds, in ticks: a quarter of it, so that a
/// connection in use never looks idle, and sixteen seconds at most.
pub const fn lease_ticks(shortest_s: u32) -> u32 {
    const SIXTEEN_SECONDS: u64 = 16_000_000_000;
    let quarter = shortest_s as u64 * 250_000_000;
    ticks(if quarter < SIXTEEN_SECONDS { quarter } else { SIXTEEN_SECONDS })
}

/// How many sets the leases of so many connections are best spread over: dense enough for the processor's caches and its
/// memory of page addresses, wide enough that nearly every flow finds a free way. In NAT both directions of a connection
/// share what there is for one: two in four ways on average, and one flow in thirty finds them full. Twice as many sets were
/// slower, for the pages that they lie in. A power of two, at most `limit`, which is one too.
pub const fn sets_for(connections: u64, limit: u32) -> u32 {
    const FEWEST: u64 = 4096;
    let wanted = connections.next_power_of_two();
    let wanted = if wanted < FEWEST { FEWEST } else { wanted };
    if wanted < limit as u64 { wanted as u32 } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, IPPROTO_TCP, IPPROTO_UDP, mix};

    fn key(n: u32, proto: u8) -> FlowKey {
        FlowKey { src: Addr::v4(n), dst: Addr::v4(7), sport_be: 1, dport_be: 2, proto, pad: [0; 3] }
    }

    fn keys(seed: u64) -> MarkKeys {
        let mut state = seed;
        let mut next = || {
            state = mix(state, 1);
            state
        };
        MarkKeys(core::array::from_fn(|_| MarkRow(core::array::from_fn(|_| next()))))
    }

    #[test]
    fn every_word_of_a_flow_changes_every_word_of_its_mark() {
        let keys = keys(99);
        let one = key(1, IPPROTO_TCP);
        let others = [
            key(2, IPPROTO_TCP),
            key(1, IPPROTO_UDP),
            FlowKey { sport_be: 9, ..one },
            FlowKey { dport_be: 9, ..one },
            FlowKey { dst: Addr::v4(8), ..one },
            FlowKey { src: Addr([1, 0, 0xffff_0000, 1]), ..one },
            FlowKey { src: Addr([0, 1, 0xffff_0000, 1]), ..one },
            FlowKey { dst: Addr([0, 0, 0, 7]), ..one },
            one.reversed(),
        ];
        assert_eq!(keys.mark(&one), keys.mark(&one));
        for other in others {
            for (word, of_other) in keys.mark(&one).0.iter().zip(keys.mark(&other).0) {
                assert_ne!(*word, of_other, "{other:?}");
            }
        }
        assert_ne!(keys.mark(&one), self::keys(98).mark(&one), "other keys, other marks");
    }

    #[test]
    fn marks_spread_flows_that_differ_in_little() {
        let keys = keys(3);
        let mut used = [0u32; 1024];
        for n in 0..4096 {
            used[keys.mark(&key(n, IPPROTO_TCP)).set(1023) as usize] += 1;
        }
        let most = used.iter().max();
        assert!(most < Some(&20), "{most:?} of 4096 flows in one of 1024 sets");
    }

    #[test]
    fn flows_in_a_row_find_room_with_every_key() {
        const FLOWS: u32 = 16_384;
        for seed in 0..300 {
            let keys = keys(seed);
            let mut used = vec![0usize; FLOWS as usize];
            for n in 0..FLOWS {
                let (client, port) = (0x0a00_0001 + n / 8192, 1024 + n % 8192);
                let src = Addr::v4(client.to_be());
                let flow = FlowKey { src, sport_be: (port as u16).to_be(), ..key(0, IPPROTO_TCP) };
                used[keys.mark(&flow).set(FLOWS - 1) as usize] += 1;
            }
            let without: usize = used.iter().map(|flows| flows.saturating_sub(LEASE_WAYS)).sum();
            // One in 270 if they were drawn at random.
            assert!(without < FLOWS as usize / 100, "{without} of {FLOWS} flows with the keys of {seed}");
        }
    }

    #[test]
    fn a_flow_looks_at_every_way_once_and_first_at_those_of_one_line() {
        for first in 0..4 {
            let mark = LeaseMark([0, first, 0]);
            let ways: [usize; 4] = core::array::from_fn(|turn| mark.way(turn as u32));
            assert_eq!(ways[0] / 2, ways[1] / 2);
            assert_eq!(ways.iter().map(|way| 1 << way).sum::<u32>(), 0b1111);
        }
    }

    #[test]
    fn a_head_says_what_was_put_in() {
        let head = LeaseHead::reverse(0xa5, 1023).with(0xdead_beef, 0x7f);
        assert_eq!((head.until(), head.sequence(), head.generation()), (0xdead_beef, 0x7f, 0xa5));
        assert!(head.is_reverse() && head.is_taken() && head.interface() == 1023);
        let head = LeaseHead::forward(0xff, 0).with(u32::MAX, 0xfe).with(1, 2);
        assert_eq!((head.until(), head.sequence(), head.generation()), (1, 2, 0xff));
        assert!(!head.is_reverse() && !head.is_taken() && head.interface() == 0);
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
        assert!(!runs(LeaseHead::default().until(), ticks(1 << 40)));
    }

    #[test]
    fn it_is_a_quarter_of_the_idle_limit_and_sixteen_seconds_at_most() {
        for (seconds, milliseconds) in
            [(1, 250), (2, 500), (10, 2500), (64, 16_000), (900, 16_000), (u32::MAX, 16_000)]
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
            (0, 1 << 20, 4096),
            (4096, 1 << 20, 4096),
            (4097, 1 << 20, 8192),
            (0, 1024, 1024),
            (65_536, 1 << 20, 65_536),
            (1_000_000, 1 << 20, 1 << 20),
            (10_000_000, 1 << 17, 1 << 17),
        ] {
            assert_eq!(sets_for(entries, limit), sets, "{entries}");
        }
    }
}
