//! Port ranges as aligned power-of-two blocks, so that `8000-8010` is three map entries and `1-65535` is sixteen.

/// Key of the services map: an address and a block of `1 << shift` ports.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct PortKey {
    /// The virtual address.
    pub addr: crate::Addr,
    /// The block's number: port (host order) shifted right by `shift`.
    pub block: u16,
    /// IP protocol number.
    pub proto: u8,
    /// log2 of the block's size, 0–15.
    pub shift: u8,
}
const _: () = assert!(size_of::<PortKey>() == 20);

/// An aligned block of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortBlock {
    /// First port shifted right by `shift`.
    pub block: u16,
    /// log2 of its size.
    pub shift: u8,
}

/// The fewest aligned blocks that make up `first..=last`.
pub fn blocks(first: u16, last: u16) -> impl Iterator<Item = PortBlock> {
    let mut next = first as u32;
    let end = last as u32;
    core::iter::from_fn(move || {
        if next > end {
            return None;
        }
        let mut shift = if next == 0 { 15 } else { next.trailing_zeros().min(15) };
        while next + (1 << shift) - 1 > end {
            shift -= 1;
        }
        let block = PortBlock { block: (next >> shift) as u16, shift: shift as u8 };
        next += 1 << shift;
        Some(block)
    })
}

/// The block sizes present in `mask` (bit n = some block of size `1 << n`), smallest first.
pub fn lookup_order(mask: u32) -> impl Iterator<Item = u8> {
    (0..16u8).filter(move |shift| mask & (1 << shift) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_documentation() {
        assert_eq!(blocks(80, 80).collect::<Vec<_>>(), [PortBlock { block: 80, shift: 0 }]);
        let range: Vec<_> = blocks(8000, 8010).map(|b| b.shift).collect();
        assert_eq!(range, [3, 1, 0]);
        assert_eq!(blocks(1, 65535).count(), 16);
        assert_eq!(blocks(0, 65535).count(), 2);
    }

    proptest! {
        #[test]
        fn blocks_cover_the_range_exactly_once(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let mut covered = Vec::new();
            for PortBlock { block, shift } in blocks(first, last) {
                let start = u32::from(block) << shift;
                covered.extend(start..start + (1 << shift));
            }
            prop_assert_eq!(covered, (u32::from(first)..=u32::from(last)).collect::<Vec<_>>());
        }
    }
}
