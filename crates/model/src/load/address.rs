//! Which addresses can be what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::reader::{Read, Table};

/// Why no host can have this address, said after "is"; loopback addresses pass.
pub fn address_fault(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => fault4(address),
        IpAddr::V6(address) => fault6(address),
    }
}

fn fault4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, 0, 0, 0] => Some("the unspecified address, which stands for \"none\""),
        [0, ..] => Some("in 0.0.0.0/8, which no host can have"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [169, 254, ..] => Some("link-local: it means nothing beyond one cable"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("in 240.0.0.0/4, which is reserved"),
        _ => None,
    }
}

fn fault6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("the unspecified address, which stands for \"none\""),
        [0, 0, 0, 0, 0, 0xffff, ..] => Some("an IPv4 address in IPv6 dress: write it as IPv4"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        [0xfe80..=0xfebf, ..] => Some("link-local: it means nothing beyond one cable"),
        _ => None,
    }
}

/// Whether the address is the network's own, or the one that means everybody in it.
pub(crate) fn is_network_or_broadcast(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            net.addr() == net.network() || net.addr() == net.broadcast()
        }
        IpNet::V4(_) => false,
        IpNet::V6(net) => net.prefix_len() < 127 && net.addr() == net.network(),
    }
}

/// Reads the address clients use.
pub(super) fn virtual_address(at: &Table<'_>, key: &'static str) -> Option<IpAddr> {
    let read = bare_address(at, key).and_then(|address| {
        let loopback = address.is_loopback().then_some("a loopback address, which no client can reach");
        match address_fault(address).or(loopback) {
            None => Read::Is(address),
            Some(fault) => {
                at.error(key, format!("{address} is {fault}: write an address that clients can reach"));
                Read::Wrong
            }
        }
    });
    at.present(key, "\"192.168.1.100\"", read)
}

/// Reads an address without prefix and port.
pub(super) fn bare_address(at: &Table<'_>, key: &'static str) -> Read<IpAddr> {
    at.text(key).and_then(|text| match parse_bare(text) {
        Ok(address) => Read::Is(address),
        Err(fault) => {
            at.error(key, fault);
            Read::Wrong
        }
    })
}

/// An address without prefix and port, or what is wrong with it.
pub(super) fn parse_bare(text: &str) -> Result<IpAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    Err(if let Ok(net) = text.parse::<IpNet>() {
        format!("`{text}` has a prefix length, which doesn't belong here: write \"{}\"", net.addr())
    } else if let Ok(socket) = text.parse::<SocketAddr>() {
        format!("`{text}` has a port, which doesn't belong here: write \"{}\"", socket.ip())
    } else {
        format!("`{text}` is not an address: write IPv4 like \"192.168.1.100\" or IPv6 like \"fd00:2::200\"")
    })
}

/// A network with a prefix length, or what is wrong with it.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        return Err(format!(
            "`{text}` has no prefix length: write \"{address}/{whole}\" for this address alone"
        ));
    }
    let net = text.parse::<IpNet>().map_err(|_| {
        let prefix = text.split_once('/').filter(|(address, _)| address.parse::<IpAddr>().is_ok());
        match prefix {
            Some((_, prefix)) => format!(
                "`{text}`: /{prefix} is not a prefix length; it is 0 to 32 for IPv4, 0 to 128 for IPv6"
            ),
            None => {
                format!("`{text}` is not a network: write for example \"10.0.0.0/24\" or \"fd00:10::/64\"")
            }
        }
    })?;
    if net.addr() == net.network() {
        Ok(net)
    } else {
        Err(format!("`{text}` names a host inside the network: write \"{}\"", net.trunc()))
    }
}

/// An own address with its prefix length, or what is wrong with it.
pub(super) fn parse_interface_address(text: &str) -> Result<IpNet, String> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (Err(_), Ok(address)) => {
            let usual = if address.is_ipv4() { 24 } else { 64 };
            return Err(format!(
                "`{text}` has no prefix length, so its network is unknown: write for example \"{address}/{usual}\""
            ));
        }
        (Err(_), Err(_)) => {
            return Err(
                match text.split_once('/').filter(|(address, _)| address.parse::<IpAddr>().is_ok()) {
                    Some((_, prefix)) => format!(
                        "`{text}`: /{prefix} is not a prefix length; it is 0 to 32 for IPv4, 0 to 128 for IPv6"
                    ),
                    None => format!(
                        "`{text}` is not an address with its prefix length: write for example \"10.0.0.1/24\""
                    ),
                },
            );
        }
    };
    let link_local = matches!(net, IpNet::V6(net) if net.addr().segments()[0] & 0xffc0 == 0xfe80);
    let fault = address_fault(net.addr()).filter(|_| !link_local);
    match fault.or_else(|| net.addr().is_loopback().then_some("a loopback address")) {
        Some(fault) => Err(format!("{} is {fault}: write an address other hosts can reach", net.addr())),
        None if is_network_or_broadcast(net) => Err(format!(
            "{} is the network's own or its broadcast address: choose one between them",
            net.addr()
        )),
        None => Ok(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_no_host_can_have_are_known() {
        for wrong in ["0.0.0.0", "0.1.2.3", "255.255.255.255", "169.254.1.1", "224.0.0.1", "250.0.0.1"] {
            assert!(address_fault(wrong.parse().unwrap()).is_some(), "{wrong}");
        }
        for wrong in ["::", "::ffff:10.0.0.1", "ff02::1", "fe80::1"] {
            assert!(address_fault(wrong.parse().unwrap()).is_some(), "{wrong}");
        }
        for right in ["10.0.0.1", "fd00:2::200", "2001:db8::1"] {
            assert_eq!(address_fault(right.parse().unwrap()), None, "{right}");
        }
    }

    #[test]
    fn interface_addresses_need_a_prefix_and_a_host_part() {
        assert!(parse_interface_address("10.0.0.1/24").is_ok());
        assert!(parse_interface_address("fe80::1/64").is_ok());
        for wrong in ["10.0.0.1", "10.0.0.0/24", "10.0.0.255/24", "10.0.0.1/33", "127.0.0.1/8", "x"] {
            assert!(parse_interface_address(wrong).is_err(), "{wrong}");
        }
    }
}
