//! Nanoseconds per packet of the live program, one `BPF_PROG_TEST_RUN` each: `cargo run --release -p keel-dataplane
//! --example measure` as root. Absolute figures hold the caches' coldness after a system call; compare the lines.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement prints, and stops at what is wrong"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use keel_dataplane::{FrameVerdict, Sizes};
use support::{
    BACK_MAC, Rig,
    packet::{ACK, PSH, Pkt, SYN, ip},
    server_mac,
};

const RUNS: usize = 262_144;

/// What is measured, with the address of the service.
const SERVICES: [(&str, &str, &str, &str); 4] = [
    ("dr", "192.168.2.200", "mode = \"dr\"", "192.168.2.101"),
    ("nat", "192.168.2.201", "mode = \"nat\"", "10.0.0.101"),
    ("ipip", "192.168.2.202", "mode = \"tun\"", "10.9.0.101"),
    ("gue", "192.168.2.203", "mode = \"tun\"\ntunnel = \"gue\"", "10.9.0.102"),
];

fn cluster() -> String {
    let service = |(name, vip, keys, server): (&str, &str, &str, &str)| {
        format!(
            "[[service]]\nname = \"{name}\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\n{keys}\n[service.health]\ntype = \"off\"\n\
             [[service.server]]\nname = \"s\"\naddress = \"{server}\"\n"
        )
    };
    SERVICES.map(service).concat()
}

fn client(n: usize) -> String {
    format!("10.1.{}.{}:{}", n >> 8 & 255, n & 255, 1024 + (n >> 4 & 0x3fff))
}

/// Median and mean nanoseconds of the frames in turn.
fn measure(rig: &Rig, frames: &[Vec<u8>], ifindex: u32, verdict: FrameVerdict) -> (u64, u64) {
    let mut times: Vec<u64> = (0..RUNS)
        .map(|i| {
            let run = rig.dataplane.run_frame(&frames[i % frames.len()], ifindex).unwrap();
            assert_eq!(run.verdict, verdict);
            run.took.as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    (times[RUNS / 2], times.iter().sum::<u64>() / RUNS as u64)
}

fn main() {
    let sizes = Sizes { connections: 524_288, half_open: 131_072, persistence: 4096, fragments: 1024 };
    let mut rig = Rig::sized(sizes);
    rig.apply(&cluster());
    let (front, back) = (rig.front, rig.back);
    let print = |what: &str, (median, mean): (u64, u64)| {
        println!("{what:<44} median {median:>5} ns   mean {mean:>5} ns")
    };

    let other = Pkt::tcp("10.1.0.1:1000", "192.0.2.1:80", ACK).build();
    rig.dataplane.set_active(false).unwrap();
    print(
        "passive: one look at the settings, then PASS",
        measure(&rig, std::slice::from_ref(&other), front, FrameVerdict::Pass),
    );
    rig.dataplane.set_active(true).unwrap();
    print("parsed, nobody's: PASS", measure(&rig, &[other], front, FrameVerdict::Pass));
    for (name, vip, _, server) in SERVICES {
        let vip = format!("{vip}:80");
        for flows in [1, 65_536] {
            let mut there = Vec::new();
            let mut back_again = Vec::new();
            for n in 0..flows {
                for flags in [SYN, ACK] {
                    assert_eq!(
                        rig.client_sends(&Pkt::tcp(&client(n), &vip, flags)).verdict,
                        FrameVerdict::Redirect
                    );
                }
                there.push(Pkt::tcp(&client(n), &vip, PSH | ACK).build());
                let reply = Pkt::tcp(&format!("{server}:80"), &client(n), PSH | ACK);
                back_again.push(reply.mac(server_mac(ip(server)), BACK_MAC).build());
            }
            print(
                &format!("{name}, {flows} known connections"),
                measure(&rig, &there, front, FrameVerdict::Redirect),
            );
            if name == "nat" {
                let what = format!("{name} replies, {flows} known connections");
                print(&what, measure(&rig, &back_again, back, FrameVerdict::Redirect));
            }
        }
    }
    let fresh: Vec<Vec<u8>> = (0..RUNS)
        .map(|n| {
            Pkt::tcp(
                &format!("10.{}.{}.{}:1000", 64 + (n >> 16), n >> 8 & 255, n & 255),
                "192.168.2.200:80",
                SYN,
            )
            .build()
        })
        .collect();
    print("dr, new connections (SYN)", measure(&rig, &fresh, front, FrameVerdict::Redirect));
}
