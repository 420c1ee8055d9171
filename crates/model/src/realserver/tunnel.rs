//! What is common to tunnelled services, whatever the servers run.

use crate::layer4::Encapsulation;
use crate::service::Service;

/// The servers of a service that are reached over one family.
pub(super) struct Outer {
    /// Whether it is IPv4.
    pub(super) v4: bool,
    /// The names of the servers.
    pub(super) names: Vec<String>,
}

/// The families the servers are reached over; the service's own where that isn't known.
pub(super) fn outers(service: &Service) -> Vec<Outer> {
    let own = service.address.is_ipv4();
    let family = |v4: bool| {
        let of_family = service
            .servers
            .iter()
            .filter(move |server| server.address.ip().map_or(own, |ip| ip.is_ipv4()) == v4);
        of_family.map(|server| server.name.to_string()).collect::<Vec<_>>()
    };
    let mut outers: Vec<Outer> =
        [true, false].into_iter().map(|v4| Outer { v4, names: family(v4) }).collect();
    outers.retain(|outer| !outer.names.is_empty() || (service.servers.is_empty() && outer.v4 == own));
    outers
}

/// "a, b", or "every server".
pub(super) fn whom(outer: &Outer) -> String {
    if outer.names.is_empty() { "every server".to_owned() } else { outer.names.join(", ") }
}

/// Bytes a packet grows by.
pub(super) fn overhead(encapsulation: Encapsulation, outer_v4: bool) -> u16 {
    let header = if outer_v4 { 20 } else { 40 };
    match encapsulation {
        Encapsulation::Ip => header,
        Encapsulation::Gue { .. } => header + 8 + 4,
    }
}

/// The largest TCP segment a client may send so that it still fits 1500 bytes when wrapped.
pub(super) fn mss(encapsulation: Encapsulation, inner_v4: bool, outer_v4: bool) -> u16 {
    1500 - overhead(encapsulation, outer_v4) - if inner_v4 { 40 } else { 60 }
}

/// Why and how sizes matter.
pub(super) fn size_note(service: &Service, encapsulation: Encapsulation) -> String {
    let largest = outers(service).iter().map(|outer| overhead(encapsulation, outer.v4)).max().unwrap_or(20);
    format!(
        "A tunnelled packet grows by up to {largest} bytes. Either every link from the appliance to the servers carries \
         {} bytes (MTU), or the servers announce the smaller segment size above. Answers go straight to the client and \
         stay as they are.",
        1500 + largest
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_segment_just_fits_when_wrapped() {
        let gue = Encapsulation::Gue { port: 6080 };
        assert_eq!(mss(Encapsulation::Ip, true, true), 1440);
        assert_eq!(mss(Encapsulation::Ip, false, true), 1420);
        assert_eq!(mss(gue, true, false), 1500 - 40 - 8 - 4 - 20 - 20);
    }
}
