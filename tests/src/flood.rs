//! A bounded SYN flood from the client's node: spoofed sources, a few ten thousand a second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Rig;
use crate::raw::{Packet, socket};
use crate::rig::CLIENT;

const SYN: u8 = 0x02;
/// After so many packets a pause: the flood is to fill the tables, not to take the lab's two cores away from everybody.
const BURST: u32 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// What is flooded, and how much of it.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// The address and port.
    pub target: SocketAddr,
    /// How many packets.
    pub packets: u32,
}

impl Flood {
    /// Where the packet of a number claims to come from: private networks that the lab doesn't have, ports all over.
    fn source(self, number: u32) -> SocketAddr {
        let [_, a, b, c] = number.to_be_bytes();
        let address = match self.target {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(172, 16 + (a & 15), b, c)),
            SocketAddr::V6(_) => {
                IpAddr::V6(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, u16::from(a), u16::from_be_bytes([b, c])))
            }
        };
        let port = 1024 + u16::try_from(number.wrapping_mul(2_654_435_761) >> 16).unwrap() % 60_000;
        SocketAddr::new(address, port)
    }
}

impl Rig {
    /// Sends the flood while `work` runs, and goes on to its last packet. Returns how many were sent.
    pub fn flooded<T>(&self, flood: Flood, work: impl FnOnce() -> T) -> (u32, T) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| self.inside(CLIENT, || send(flood, &stop)));
            let guard = Stop(&stop);
            let result = work();
            // The end of the work doesn't end the flood; a panic does.
            std::mem::forget(guard);
            (sender.join().unwrap(), result)
        })
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn send(flood: Flood, stop: &AtomicBool) -> u32 {
    let socket = socket(flood.target.ip());
    let target = SocketAddr::new(flood.target.ip(), 0).into();
    let mut sent = 0;
    for number in 0..flood.packets {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if number % BURST == 0 {
            std::thread::sleep(PAUSE);
        }
        let packet = Packet::tcp(flood.source(number), flood.target, SYN, number);
        sent += u32::from(socket.send_to(&packet.bytes, &target).is_ok());
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;

    #[test]
    fn a_packets_checksums_are_right() {
        let flood = Flood { target: "192.168.2.200:80".parse().unwrap(), packets: 1 };
        let packet = Packet::tcp(flood.source(77), flood.target, SYN, 1).bytes;
        assert_eq!(checksum(&[&packet[..20]]), [0, 0]);
        let pseudo = [&packet[12..20], &[0, 6, 0, 20]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), [0, 0]);
    }
}
