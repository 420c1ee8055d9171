//! The lab's networks and the one rule by which every host gets its addresses on them. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// One broadcast domain: a bridge in the lab's switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Where the clients are.
    Clients,
    /// Where the VIPs are.
    Front,
    /// Behind the balancers, which are its gateway.
    Back,
    /// Behind the router, for tunnels.
    Remote,
}

impl Network {
    /// The bridge's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Front => "front",
            Self::Back => "back",
            Self::Remote => "remote",
        }
    }

    /// The IPv4 address of host number `host` (the last octet); the network is a /24.
    pub fn ipv4(self, host: u8) -> Ipv4Addr {
        let [a, b, c] = match self {
            Self::Clients => [192, 168, 3],
            Self::Front => [192, 168, 2],
            Self::Back => [10, 0, 0],
            Self::Remote => [10, 9, 0],
        };
        Ipv4Addr::new(a, b, c, host)
    }

    /// The IPv6 address whose last group shows the digits of `host`: host 101 is `::101`. The network is a /64.
    pub fn ipv6(self, host: u8) -> Ipv6Addr {
        let network = match self {
            Self::Clients => 0x3,
            Self::Front => 0x2,
            Self::Back => 0x10,
            Self::Remote => 0x9,
        };
        Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, same_digits(host))
    }

    /// The Ethernet address of host number `host`: locally administered, and the same in every lab.
    pub fn mac(self, host: u8) -> String {
        format!("02:6b:65:65:{:02x}:{host:02x}", self as u8)
    }
}

/// The number that reads in hexadecimal as `host` does in decimal.
fn same_digits(host: u8) -> u16 {
    let host = u16::from(host);
    (host / 100) << 8 | ((host / 10 % 10) << 4) | (host % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_show_the_same_host_number() {
        assert_eq!(Network::Front.ipv4(101).to_string(), "192.168.2.101");
        assert_eq!(Network::Front.ipv6(101).to_string(), "fd00:2::101");
        assert_eq!(Network::Back.ipv6(1).to_string(), "fd00:10::1");
        assert_eq!(Network::Remote.ipv6(110).to_string(), "fd00:9::110");
    }
}
