//! A service, its clients and their first packets.
use super::packet::{Pkt, SYN};

/// A service at 192.168.2.200:80 with the keys given, and servers 192.168.2.101, .102, … with theirs.
pub fn cluster(keys: &str, servers: &[&str]) -> String {
    let mut text = format!(
        "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n"
    );
    for (i, server) in servers.iter().enumerate() {
        text +=
            &format!("[[service.server]]\nname = \"s{i}\"\naddress = \"192.168.2.{}\"\n{server}\n", 101 + i);
    }
    text
}

pub const VIP: &str = "192.168.2.200:80";

pub fn client(n: u32) -> String {
    format!("10.{}.{}.{}:{}", n >> 16 & 255, n >> 8 & 255, n & 255, 1024 + n % 50_000)
}

pub fn syn(n: u32) -> Pkt {
    Pkt::tcp(&client(n), VIP, SYN)
}
