//! One address type for both families, as it stands in map keys.

/// An IPv6 address, or an IPv4 address mapped into `::ffff:0:0/96` (RFC 4291 §2.5.5.2): four words, each in
/// network byte order exactly as in a packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
pub struct Addr(pub [u32; 4]);

const _: () = assert!(size_of::<Addr>() == 16);

/// An Ethernet address as three words of the wire: what the packet path can load without going byte by byte.
pub type Mac = [u16; 3];

/// An Ethernet address from its bytes.
pub const fn mac(bytes: [u8; 6]) -> Mac {
    [
        u16::from_ne_bytes([bytes[0], bytes[1]]),
        u16::from_ne_bytes([bytes[2], bytes[3]]),
        u16::from_ne_bytes([bytes[4], bytes[5]]),
    ]
}

const MAPPED: u32 = 0x0000_ffffu32.to_be();

impl Addr {
    /// `::`, used as "none".
    pub const ZERO: Self = Self([0; 4]);

    /// From the four bytes of an IPv4 header field, read as one native word.
    #[inline(always)]
    pub const fn v4(word_be: u32) -> Self {
        Self([0, 0, MAPPED, word_be])
    }

    /// True for a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// The IPv4 address as it stands in a header.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// The address with all but the first `prefix` bits cleared; `prefix` counts within the family (0–32 or
    /// 0–128), and a mapped address stays mapped.
    #[inline(always)]
    pub const fn masked(&self, prefix: u8) -> Self {
        if self.is_v4() {
            return Self::v4(self.0[3] & mask_word(prefix as u32));
        }
        let bits = prefix as u32;
        Self([
            self.0[0] & mask_word(bits),
            self.0[1] & mask_word(bits.saturating_sub(32)),
            self.0[2] & mask_word(bits.saturating_sub(64)),
            self.0[3] & mask_word(bits.saturating_sub(96)),
        ])
    }
}

/// The first `bits` bits of a word in network order; all of them from 32 up.
#[inline(always)]
const fn mask_word(bits: u32) -> u32 {
    if bits == 0 {
        0
    } else if bits >= 32 {
        u32::MAX
    } else {
        (u32::MAX << (32 - bits)).to_be()
    }
}

#[cfg(any(test, feature = "user"))]
mod convert {
    use super::Addr;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    impl From<IpAddr> for Addr {
        fn from(address: IpAddr) -> Self {
            match address {
                IpAddr::V4(v4) => Self::v4(u32::from_ne_bytes(v4.octets())),
                IpAddr::V6(v6) => {
                    let bytes = v6.octets();
                    let word =
                        |i: usize| u32::from_ne_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
                    Self([word(0), word(4), word(8), word(12)])
                }
            }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(address: Addr) -> Self {
            if address.is_v4() {
                return Self::V4(Ipv4Addr::from(address.v4_word().to_ne_bytes()));
            }
            let mut bytes = [0; 16];
            for (i, word) in address.0.iter().enumerate() {
                bytes[i * 4..i * 4 + 4].copy_from_slice(&word.to_ne_bytes());
            }
            Self::V6(Ipv6Addr::from(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    #[test]
    fn masks_within_the_family() {
        let v4: Addr = "192.168.17.9".parse::<IpAddr>().unwrap().into();
        assert_eq!(IpAddr::from(v4.masked(24)).to_string(), "192.168.17.0");
        assert_eq!(v4.masked(32), v4);
        assert_eq!(IpAddr::from(v4.masked(0)).to_string(), "0.0.0.0");
        let v6: Addr = "2001:db8:1:2:3:4:5:6".parse::<IpAddr>().unwrap().into();
        assert_eq!(IpAddr::from(v6.masked(56)).to_string(), "2001:db8:1::");
        assert_eq!(v6.masked(128), v6);
    }

    proptest! {
        #[test]
        fn address_conversion_round_trips(bytes: [u8; 16], v4: [u8; 4]) {
            let six = IpAddr::from(bytes);
            if !matches!(six, IpAddr::V6(a) if a.to_ipv4_mapped().is_some()) {
                prop_assert_eq!(IpAddr::from(Addr::from(six)), six);
            }
            let four = IpAddr::from(v4);
            prop_assert_eq!(IpAddr::from(Addr::from(four)), four);
        }
    }
}
