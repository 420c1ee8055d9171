//! A balancer's appliance: its first configuration, its daemon, and how to tell that it is ready.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::address::Network;
use crate::error::{During as _, LabError};
use crate::plan::{GATEWAY, Link};

/// The daemon's program.
pub(crate) const DAEMON: &str = "keeld";
const SOCKET: &str = "/run/evenkeel/keeld.sock";
/// What any daemon that has started can be asked.
const QUESTION: &[u8] = b"GET /api/v1/system HTTP/1.1\r\nHost: keeld\r\nConnection: close\r\n\r\n";
const GOOD: &[u8] = b"HTTP/1.1 200";

/// Inside a balancer: what the console wizard of an appliance would have written.
pub(crate) fn configure(name: &str, links: &[Link], holds_gateway: bool) -> Result<(), LabError> {
    let write = |file: &str, text: String| fs::write(file, text).during(|| format!("writing {file}"));
    write("/etc/evenkeel/node.toml", node(name, links))?;
    let gateway = holds_gateway && links.iter().any(|link| link.network == Network::Back);
    write("/etc/evenkeel/cluster.toml", if gateway { cluster() } else { String::new() })
}

/// Inside a balancer: whether the daemon answers. Its socket is there before it does.
pub(crate) fn ready() -> bool {
    answers().unwrap_or(false)
}

fn answers() -> io::Result<bool> {
    let mut socket = UnixStream::connect(SOCKET)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.write_all(QUESTION)?;
    let mut answer = [0; GOOD.len()];
    socket.read_exact(&mut answer)?;
    Ok(answer == GOOD)
}

fn node(name: &str, links: &[Link]) -> String {
    let mut text = format!("hostname = \"{name}\"\n");
    for Link { device, ipv4, ipv6, .. } in links {
        let _ = write!(
            text,
            "\n[[interface]]\nname = \"{device}\"\naddresses = [\"{ipv4}/24\", \"{ipv6}/64\"]\n"
        );
    }
    for gateway in [IpAddr::V4(Network::Front.ipv4(GATEWAY)), IpAddr::V6(Network::Front.ipv6(GATEWAY))] {
        let _ = write!(text, "\n[[route]]\nto = \"default\"\nvia = \"{gateway}\"\n");
    }
    text
}

/// The servers' gateway: a floating address of the pair's first node.
fn cluster() -> String {
    let gateways =
        [format!("{}/24", Network::Back.ipv4(GATEWAY)), format!("{}/64", Network::Back.ipv6(GATEWAY))];
    gateways.map(|address| format!("[[floating_ip]]\naddress = \"{address}\"\n")).join("\n")
}
