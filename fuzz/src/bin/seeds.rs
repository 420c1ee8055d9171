//! Writes the inputs that fuzzing starts from: well-formed packets of every shape by the packet builder of the packet
//! path's tests, HTTP/1.1 messages, and valid and wrong configurations. `seeds FOLDER` fills `FOLDER/TARGET`. It runs no target.
#![expect(clippy::print_stderr, reason = "a program that failed says why")]

use std::io::{self, Error};
use std::path::Path;
use std::process::ExitCode;

use keel_model::testing::{valid_cluster, valid_node, wrong_configurations};
use packet::{ACK, FIN, PSH, Pkt, RST, SYN};

#[path = "../../../crates/dataplane/tests/support/packet.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "made for tests, which use more of it")]
mod packet;

/// What the packet builder gives to packets that don't say.
const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0x21];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 3, 0x10];

fn main() -> ExitCode {
    match std::env::args().nth(1).ok_or_else(|| Error::other("usage: seeds FOLDER")).and_then(write) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: String) -> io::Result<()> {
    let folder = Path::new(&folder);
    let frames = frames();
    for (target, head) in [("packet", 18), ("error", 20), ("tunnel", 41)] {
        let inputs = frames.iter().enumerate().map(|(i, frame)| {
            // Something different in front of each: an address and a port, in the tunnels' case also which.
            let front = (0..head).map(|at| (i * 31 + at * 7) as u8);
            front.chain(frame.iter().copied()).collect()
        });
        fill(&folder.join(target), inputs)?;
    }
    let messages: [&[u8]; 8] = [
        b"GET /a?b=c HTTP/1.1\r\nHost: www.example.org\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\n",
        b"POST http://h:80/x HTTP/1.1\r\nhost: h:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: X-A, keep-alive\r\nX-A: 1\r\n\r\n",
        b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok",
        b"HTTP/1.0 404 Not Found\nServer: old\n\n",
        b"5;a=\"b\"\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    ];
    fill(&folder.join("http1"), messages.into_iter().map(<[u8]>::to_vec))?;
    let valid = (0..20).flat_map(|seed| [valid_cluster(seed), valid_node(seed)]);
    let wrong = wrong_configurations(1, 200).into_iter().map(|wrong| wrong.text);
    fill(&folder.join("config"), valid.chain(wrong).map(String::into_bytes))
}

fn fill(folder: &Path, inputs: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, input) in inputs.enumerate() {
        std::fs::write(folder.join(format!("seed-{number:03}")), input)?;
    }
    Ok(())
}

/// Both families, every protocol, and what they may carry.
fn frames() -> Vec<Vec<u8>> {
    let ends = [("192.0.2.7:1234", "192.168.2.200:80"), ("[2001:db8::7]:1234", "[fd00:2::200]:80")];
    ends.iter().flat_map(|(src, dst)| family(src, dst)).collect()
}

fn family(src: &str, dst: &str) -> Vec<Vec<u8>> {
    let plain = [SYN, ACK, ACK | PSH, FIN | ACK, RST].map(|flags| Pkt::tcp(src, dst, flags));
    let udp = [Pkt::udp(src, dst), Pkt::udp(src, dst).no_sum(), Pkt::udp(src, dst).data(200)];
    let mut packets: Vec<Pkt> = plain.into_iter().chain(udp).collect();
    packets.push(packets[2].clone().tag(100).tos(0xb8));
    packets.push(packets[2].clone().qinq(100, 0x20c8));
    packets.push(packets[5].clone().ttl(1));
    let v4 = src.starts_with(|c: char| c.is_ascii_digit());
    if v4 {
        packets.push(packets[2].clone().options(&[7, 4, 0, 0, 1, 1, 1, 0]));
    } else {
        packets.push(packets[2].clone().extension(0, &[0, 1, 4, 0, 0, 0, 0]));
        packets.push(packets[5].clone().extension(60, &[0, 1, 4, 0, 0, 0, 0]).extension(43, &[0; 7]));
    }
    let errors: Vec<Pkt> = packets.iter().flat_map(|packet| errors(packet, v4)).collect();
    let fragments = packets[7].fragments(64);
    packets.iter().chain(&errors).map(Pkt::build).chain(fragments).collect()
}

/// A router and the client complain about a packet that reached them: whole, and as little as may be quoted.
fn errors(about: &Pkt, v4: bool) -> Vec<Pkt> {
    let turned = about.clone().untagged();
    let quoted = turned.ip_packet();
    let (router, kinds) = if v4 {
        ("10.0.0.1", vec![(3, 4, 1400), (11, 0, 0)])
    } else {
        ("fd00:3::1", vec![(2, 0, 1400), (1, 4, 0)])
    };
    let to = about.src.to_string();
    let least = if v4 { 28 } else { 48 };
    let each = kinds.into_iter().flat_map(|(kind, code, rest)| {
        [least, 576].map(|length| Pkt::icmp_error(router, &to, kind, code, rest, &quoted, length))
    });
    each.collect()
}
