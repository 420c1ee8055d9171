//! What the lab's own tests share: bare labs with names of their own, and questions to a server.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod packet;

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keel_lab::{Lab, LabError, Options, Topology};

/// One patience for everything that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The folder with the `keel-lab` that was built with this test.
pub(crate) fn binaries() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_keel-lab")).parent().unwrap().to_path_buf()
}

/// Options of a small lab without an appliance.
pub(crate) fn bare(test: &str) -> Options {
    let prefix = format!("{test}-{}", std::process::id());
    Options { prefix, servers: 2, appliance: false, binaries: Some(binaries()), keep: false }
}

/// Brings a bare lab up.
pub(crate) fn lab(test: &str, topology: Topology) -> Lab {
    Lab::up(topology, &bare(test)).unwrap()
}

/// What the client gets from a URL.
pub(crate) fn get(lab: &Lab, url: &str) -> String {
    let output = lab.exec("client", &["curl", "-gsSk", "--max-time", "10", url]).unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a UDP server answers a client.
pub(crate) fn ask(lab: &Lab, server: IpAddr) -> String {
    let asked = lab.within("client", || {
        let answer = || {
            let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(Duration::from_millis(500)))?;
            let mut buffer = [0; 64];
            let deadline = Instant::now() + PATIENCE;
            // As every client of a datagram protocol does: asked again until answered.
            let (length, from) = loop {
                socket.send_to(b"who", (server, 9000))?;
                match socket.recv_from(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {}
                    answer => break answer?,
                }
            };
            assert_eq!(from.ip(), server, "the answer comes from another address than was asked");
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        Ok::<std::io::Result<String>, LabError>(answer())
    });
    asked.unwrap().unwrap()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
