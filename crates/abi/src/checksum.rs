//! Internet checksums, updated rather than recomputed (RFC 1071, RFC 1624 equation 3).
//!
//! All sums are over native-endian 16-bit words as they stand in the packet: the one's-complement sum does not
//! care about byte order as long as one order is kept (RFC 1071 §2 (B)).
use crate::Addr;

/// Folds a sum of 16-bit words to 16 bits with end-around carry.
#[inline(always)]
pub const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[inline(always)]
const fn words(word: u32) -> u64 {
    (word & 0xffff) as u64 + (word >> 16) as u64
}

#[inline(always)]
const fn addr_words(address: &Addr) -> u64 {
    if address.is_v4() {
        words(address.0[3])
    } else {
        words(address.0[0]) + words(address.0[1]) + words(address.0[2]) + words(address.0[3])
    }
}

/// The checksum after one 16-bit word it covers changed from `old` to `new`.
#[inline(always)]
pub const fn replace16(check: u16, old: u16, new: u16) -> u16 {
    !fold((!check) as u64 + (!old) as u64 + new as u64)
}

/// The checksum after an address it covers (in the header or the pseudo header) changed. Both must be of one
/// family.
#[inline(always)]
pub const fn replace_addr(check: u16, old: &Addr, new: &Addr) -> u16 {
    // Subtracting a sum of n words = adding its complement after folding.
    let old = fold(addr_words(old));
    !fold((!check) as u64 + (!old) as u64 + addr_words(new))
}

/// The checksum after a port it covers changed.
#[inline(always)]
pub const fn replace_port(check: u16, old_be: u16, new_be: u16) -> u16 {
    replace16(check, old_be, new_be)
}

/// The checksum field for a header of 16-bit words summed into `sum`.
#[inline(always)]
pub const fn header_sum(sum: u64) -> u16 {
    !fold(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(words: &[u16]) -> u16 {
        header_sum(words.iter().map(|w| u64::from(*w)).sum())
    }

    /// 0x0000 and 0xffff are the same number in one's complement; a receiver accepts either.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        #[test]
        fn incremental_equals_full_for_one_word(mut data in prop::collection::vec(any::<u16>(), 2..40), at: usize, new: u16) {
            let check = full(&data);
            let at = at % data.len();
            let old = std::mem::replace(&mut data[at], new);
            prop_assert!(same(replace16(check, old, new), full(&data)));
        }

        #[test]
        fn incremental_equals_full_for_addresses(rest in prop::collection::vec(any::<u16>(), 0..40), old: [u32; 4], new: [u32; 4]) {
            let with = |a: &Addr| {
                let mut data = rest.clone();
                for word in a.0 {
                    data.push(word as u16);
                    data.push((word >> 16) as u16);
                }
                full(&data)
            };
            let (old, new) = (Addr(old), Addr(new));
            prop_assume!(!old.is_v4() && !new.is_v4());
            prop_assert!(same(replace_addr(with(&old), &old, &new), with(&new)));
        }

        #[test]
        fn a_valid_checksum_stays_valid(rest in prop::collection::vec(any::<u16>(), 0..40), old: u32, new: u32) {
            // "Valid" as a receiver tests it: the sum over data and checksum is all ones.
            let (old, new) = (Addr::v4(old), Addr::v4(new));
            let sum = |a: &Addr| rest.iter().map(|w| u64::from(*w)).sum::<u64>() + words(a.0[3]);
            let check = replace_addr(!fold(sum(&old)), &old, &new);
            prop_assert_eq!(fold(sum(&new) + u64::from(check)), 0xffff);
        }
    }

    #[test]
    fn rfc_1624_example() {
        // RFC 1624 §4: 0x5555 -> 0x3285 with HC = 0xDD2F gives 0x0000, not 0xFFFF.
        assert_eq!(replace16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
