//! The seeded hash that spreads flows over rings: cheap in eBPF (64-bit multiplies, no tables), and keyed so that
//! a client cannot choose its server by choosing its address.
use crate::{Addr, Config, FlowKey, TableHeader, scheduler, service_flags};

/// Mixes one word into a hash state. The multiplier is 2^64 divided by the golden ratio, made odd (Knuth,
/// TAOCP vol. 3 §6.4); the shift brings the high bits, where a multiplication mixes best, back down.
#[inline(always)]
pub const fn mix(state: u64, word: u32) -> u64 {
    let x = (state ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

#[inline(always)]
const fn finish(state: u64) -> u32 {
    let x = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x >> 32) as u32
}

#[inline(always)]
const fn mix_addr(mut state: u64, address: &Addr) -> u64 {
    if !address.is_v4() {
        state = mix(state, address.0[0]);
        state = mix(state, address.0[1]);
        state = mix(state, address.0[2]);
    }
    mix(state, address.0[3])
}

/// Hash of one address (already masked to the persistence prefix where that matters).
#[inline(always)]
pub const fn source_hash(seed: u64, address: &Addr) -> u32 {
    finish(mix_addr(seed, address))
}

/// Hash of a flow: both addresses, both ports, the protocol.
#[inline(always)]
pub const fn flow_hash(seed: u64, key: &FlowKey) -> u32 {
    let state = mix_addr(mix_addr(seed, &key.src), &key.dst);
    let ports = (key.sport_be as u32) << 16 | key.dport_be as u32;
    finish(mix(mix(state, ports), key.proto as u32))
}

/// The part of a client's address that a service's persistence looks at.
#[inline(always)]
pub const fn persistent_client(header: &TableHeader, key: &FlowKey) -> Addr {
    key.src.masked(if key.src.is_v4() { header.prefix4 } else { header.prefix6 })
}

/// What a service's ring (and its hashing scheduler) looks at: a connection without an entry is put where its
/// scheduler or its persistence would have put it, as far as that can be computed.
#[inline(always)]
pub const fn ring_hash(header: &TableHeader, key: &FlowKey, config: &Config) -> u32 {
    match header.scheduler {
        scheduler::DH => source_hash(config.seed ^ key.dport_be as u64, &key.dst),
        scheduler::SH | scheduler::MAGLEV if header.flags & service_flags::HASH_PORTS != 0 => {
            flow_hash(config.seed, key)
        }
        scheduler::SH | scheduler::MAGLEV => source_hash(config.seed, &key.src),
        _ if header.flags & service_flags::PERSISTENT != 0 => {
            source_hash(config.seed, &persistent_client(header, key))
        }
        _ => flow_hash(config.seed, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn neighbouring_clients_spread_evenly() {
        // A /16 of clients over 16 slots: chi-squared with 15 degrees of freedom stays under 37.7 (p = 0.001).
        let mut counts = [0u32; 16];
        for i in 0..65536u32 {
            let client = Addr::from(std::net::IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + i)));
            counts[source_hash(0x5eed, &client) as usize % 16] += 1;
        }
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 4096.0).powi(2) / 4096.0).sum();
        assert!(chi < 37.7, "chi-squared {chi}, counts {counts:?}");
    }

    #[test]
    fn consecutive_ports_spread_evenly() {
        let mut counts = [0u32; 10];
        for port in 1024..61024u16 {
            let key = FlowKey {
                src: Addr::v4(0x0100_a8c0),
                dst: Addr::v4(0xc800_a8c0),
                sport_be: port.to_be(),
                dport_be: 80u16.to_be(),
                proto: 6,
                pad: [0; 3],
            };
            counts[flow_hash(7, &key) as usize % 10] += 1;
        }
        let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 6000.0).powi(2) / 6000.0).sum();
        assert!(chi < 27.9, "chi-squared {chi}, counts {counts:?}");
    }
}
