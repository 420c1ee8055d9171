//! Maglev's consistent-hashing table (Eisenbud et al., NSDI 2016, §3.4), with weights, from stable identities:
//! two nodes with the same servers build the same table, whatever order they learned them in.

/// Ring sizes, primes. A ring of at least 100 slots per server keeps the imbalance under one per cent.
const SIZES: [u32; 5] = [1021, 4093, 16381, 32749, 65537];

/// The Maglev scheduler's own ring size, whatever the pool's.
pub const FULL: u32 = 65537;

/// The smallest ring that keeps a pool of `members` balanced within a per cent; 0 for none.
pub fn slots_for(members: usize) -> u32 {
    if members == 0 {
        return 0;
    }
    let wanted = (members as u64 * 100).min(u64::from(FULL)) as u32;
    SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(FULL)
}

/// A stable identity from the text a server is known by, FNV-1a (64 bits).
pub fn identity(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// splitmix64's finaliser: every bit of the result depends on every bit of the input.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Builds a ring of `slots` (a prime) member indices for members given as (identity, weight). Members of weight 0
/// get nothing; with no weight at all the ring is empty.
pub fn build(members: &[(u64, u16)], slots: u32) -> Vec<u16> {
    let mut order: Vec<usize> = (0..members.len()).filter(|i| members[*i].1 > 0).collect();
    // The outcome must not depend on the order of the input.
    order.sort_by_key(|i| members[*i].0);
    if order.is_empty() || slots < 2 {
        return Vec::new();
    }
    let heaviest = u64::from(order.iter().map(|i| members[*i].1).max().unwrap_or(1));
    let slots64 = u64::from(slots);
    let mut walks: Vec<Walk> = order
        .iter()
        .map(|i| {
            let (identity, weight) = members[*i];
            Walk {
                member: *i as u16,
                weight: u64::from(weight),
                credit: 0,
                at: scramble(identity) % slots64,
                step: scramble(identity ^ 0xa5a5_a5a5_5a5a_5a5a) % (slots64 - 1) + 1,
            }
        })
        .collect();
    let mut ring = vec![u16::MAX; slots as usize];
    let mut taken = vec![false; slots as usize];
    let mut left = slots;
    loop {
        for walk in &mut walks {
            // A member takes a turn whenever its weight has added up to the heaviest member's.
            walk.credit += walk.weight;
            if walk.credit < heaviest {
                continue;
            }
            walk.credit -= heaviest;
            let slot = walk.next_free(&taken, slots64);
            taken[slot] = true;
            ring[slot] = walk.member;
            left -= 1;
            if left == 0 {
                return ring;
            }
        }
    }
}

/// One member's walk through its permutation of the slots.
struct Walk {
    member: u16,
    weight: u64,
    credit: u64,
    at: u64,
    step: u64,
}

impl Walk {
    fn next_free(&mut self, taken: &[bool], slots: u64) -> usize {
        while taken[self.at as usize] {
            self.at = (self.at + self.step) % slots;
        }
        self.at as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn equal(n: usize) -> Vec<(u64, u16)> {
        (0..n).map(|i| (identity(&format!("10.0.{}.{}:80", i / 250, i % 250)), 100)).collect()
    }

    fn counts(ring: &[u16], members: usize) -> Vec<u32> {
        let mut counts = vec![0; members];
        for slot in ring {
            counts[usize::from(*slot)] += 1;
        }
        counts
    }

    #[test]
    fn imbalance_is_within_one_per_cent() {
        for n in [2, 10, 64, 100, 500] {
            let counts = counts(&build(&equal(n), FULL), n);
            let share = f64::from(FULL) / n as f64;
            for count in counts {
                assert!((f64::from(count) - share).abs() / share <= 0.01, "{n} servers: {count} of {share}");
            }
        }
    }

    #[test]
    fn at_most_two_per_cent_of_unaffected_slots_move_when_one_of_a_hundred_leaves() {
        let all = equal(100);
        let before = build(&all, FULL);
        let mut worst = 0.0f64;
        for leaver in 0..100usize {
            let mut members = all.clone();
            members[leaver].1 = 0;
            let after = build(&members, FULL);
            let unaffected = before.iter().filter(|s| usize::from(**s) != leaver).count();
            let moved =
                before.iter().zip(&after).filter(|(b, a)| usize::from(**b) != leaver && a != b).count();
            worst = worst.max(moved as f64 / unaffected as f64);
        }
        assert!(worst <= 0.02, "worst disruption {:.2} %", worst * 100.0);
    }

    proptest! {
        #[test]
        fn the_order_of_the_servers_does_not_matter(weights in prop::collection::vec(0u16..1000, 1..20), rotate in 0usize..20) {
            let members: Vec<(u64, u16)> = weights.iter().enumerate().map(|(i, w)| (identity(&i.to_string()), *w)).collect();
            let mut moved = members.clone();
            moved.rotate_left(rotate % members.len());
            let name = |members: &[(u64, u16)]| build(members, 1021).iter().map(|i| members[usize::from(*i)].0).collect::<Vec<_>>();
            prop_assert_eq!(name(&members), name(&moved));
        }

        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(1u16..=65535, 1..30)) {
            let members: Vec<(u64, u16)> = weights.iter().enumerate().map(|(i, w)| (identity(&i.to_string()), *w)).collect();
            let counts = counts(&build(&members, FULL), members.len());
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let share = f64::from(*weight) / total * f64::from(FULL);
                prop_assert!((f64::from(*count) - share).abs() <= 2.0 + share * 0.01, "{} of {}", count, share);
            }
        }
    }
}
