//! What a real server needs before it can take work from a service: ready commands with the actual addresses.
//!
//! Nothing is run here, and nothing is known of the server but what the service says.

mod bsd;
mod linux;
mod linux_tunnel;
mod tunnel;
mod windows;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::layer4::Mode4;
use crate::service::{Service, ServiceKind};
use crate::word::words;

words! {
    /// What a real server runs.
    pub enum Os("system") {
        /// Any Linux with iproute2.
        Linux = "linux",
        /// Windows Server.
        Windows = "windows",
        /// FreeBSD; the others are much alike.
        Bsd = "bsd",
    }
}

/// What to do on a server, how to see that it worked, and how to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// The service's name.
    pub service: String,
    /// What the server runs.
    pub os: Os,
    /// dr, nat, tun, or the mode of layer 7.
    pub mode: String,
    /// What this is about, in one or two sentences.
    pub summary: String,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// How to see that it worked.
    pub verify: Vec<Step>,
    /// How to take it back.
    pub undo: Vec<Step>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What and why.
    pub text: String,
    /// The commands, to be run as administrator; empty when it isn't done by command.
    pub commands: Vec<String>,
}

impl Step {
    fn new(text: impl Into<String>, commands: impl IntoIterator<Item = String>) -> Self {
        Self { text: text.into(), commands: commands.into_iter().collect() }
    }

    fn say(text: impl Into<String>) -> Self {
        Self::new(text, [])
    }
}

/// What stands for the gateway while none is known.
pub const GATEWAY: &str = "GATEWAY";

/// What a server of this service needs. `gateway` is the floating IP that NAT servers use as their default gateway.
pub fn instructions(service: &Service, os: Os, gateway: Option<IpAddr>) -> Instructions {
    let base = Instructions {
        service: service.name.to_string(),
        os,
        mode: mode(service).to_owned(),
        summary: String::new(),
        steps: Vec::new(),
        verify: Vec::new(),
        undo: Vec::new(),
        notes: Vec::new(),
    };
    match &service.kind {
        ServiceKind::Layer4(layer4) => match (layer4.mode, os) {
            (Mode4::Dr, Os::Linux) => linux::dr(service, base),
            (Mode4::Dr, Os::Windows) => windows::dr(service, base),
            (Mode4::Dr, Os::Bsd) => bsd::dr(service, base),
            (Mode4::Nat, _) => nat(service, os, gateway, base),
            (Mode4::Tun(encapsulation), Os::Linux) => linux_tunnel::tun(service, encapsulation, base),
            (Mode4::Tun(_), Os::Windows) => windows::tun(service, base),
            (Mode4::Tun(encapsulation), Os::Bsd) => bsd::tun(service, encapsulation, base),
        },
        ServiceKind::Layer7(layer7) if layer7.transparent => transparent(service, os, gateway, base),
        ServiceKind::Layer7(_) => layer7(service, base),
    }
}

/// The floating IP that is in the network of one of the service's servers.
pub fn gateway_for(cluster: &Cluster, service: &Service) -> Option<IpAddr> {
    let servers: Vec<IpAddr> = service.servers.iter().filter_map(|server| server.address.ip()).collect();
    let nets = cluster.floating_ips.iter().map(|floating| floating.address);
    nets.into_iter().find(|net| servers.iter().any(|server| net.contains(server))).map(|net| net.addr())
}

fn mode(service: &Service) -> &'static str {
    match &service.kind {
        ServiceKind::Layer4(layer4) => layer4.mode.as_str(),
        ServiceKind::Layer7(layer7) => layer7.mode.as_str(),
    }
}

fn nat(service: &Service, os: Os, gateway: Option<IpAddr>, base: Instructions) -> Instructions {
    let mut instructions = Instructions {
        summary: format!(
            "NAT: answers must pass through the appliance, which turns the server's address back into {}. The server's \
             default gateway must be a floating IP of the pair, so that it moves when the other node takes over.",
            service.address
        ),
        ..base
    };
    route_through_us(service, os, gateway, &mut instructions);
    instructions.notes.push(
        "A client in the server's own network gets its answer directly and refuses it: put such clients in another \
         network, or use layer 7."
            .to_owned(),
    );
    instructions.notes.push(
        "Connections that stay in SYN_RECV mean that the answers go another way: check the gateway."
            .to_owned(),
    );
    instructions
}

fn route_through_us(service: &Service, os: Os, gateway: Option<IpAddr>, instructions: &mut Instructions) {
    let v4 = service.address.is_ipv4();
    let gateway = match gateway {
        Some(gateway) => gateway.to_string(),
        None => {
            instructions.notes.insert(
                0,
                format!(
                    "{GATEWAY} stands for a floating IP in the servers' network, and there is none yet. Add one to \
                     cluster.toml, for example [[floating_ip]] with address = \"{}\", and ask again.",
                    if v4 { "10.0.0.1/24" } else { "fd00:10::1/64" }
                ),
            );
            GATEWAY.to_owned()
        }
    };
    match os {
        Os::Linux => linux::gateway(v4, &gateway, instructions),
        Os::Windows => windows::gateway(v4, &gateway, instructions),
        Os::Bsd => bsd::gateway(v4, &gateway, instructions),
    }
    instructions.verify.push(listening(service, os, false));
}

fn transparent(service: &Service, os: Os, gateway: Option<IpAddr>, base: Instructions) -> Instructions {
    let mut instructions = Instructions {
        summary:
            "The proxy connects to servers with the client's own address (TProxy), so answers must come back \
                  through the appliance: the server's default gateway must be a floating IP of the pair."
                .to_owned(),
        ..base
    };
    route_through_us(service, os, gateway, &mut instructions);
    instructions
}

fn layer7(service: &Service, base: Instructions) -> Instructions {
    let proxy = service.as_layer7().and_then(|layer7| layer7.send_proxy);
    let notes = proxy.map(|version| {
        format!(
            "This service sends the PROXY protocol {version} first: the server's application must expect it on the port \
             it is reached on, or it will answer nonsense."
        )
    });
    Instructions {
        summary:
            "Layer 7: the proxy opens its own connections, so the server needs no change. It must only be \
                  reachable from the appliance."
                .to_owned(),
        notes: notes.into_iter().collect(),
        ..base
    }
}

/// The address with the prefix length of a single host.
fn host_net(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// Something must listen on the ports: on the VIP (or everywhere), or on the server's own address.
fn listening(service: &Service, os: Os, on_vip: bool) -> Step {
    let ports: Vec<String> = service
        .servers
        .iter()
        .filter_map(|server| server.port)
        .map(|port| port.to_string())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let ports = if ports.is_empty() || on_vip { service.ports.to_string() } else { ports.join(" or ") };
    let place = if on_vip {
        format!("{} or on every address", service.address)
    } else {
        "its own address".to_owned()
    };
    let command = match os {
        Os::Linux => "ss -lntu".to_owned(),
        Os::Windows => "netstat -an".to_owned(),
        Os::Bsd => "sockstat -l".to_owned(),
    };
    Step::new(format!("The application listens on {place}, {} port {ports}:", service.protocol()), [command])
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Service {}, mode {}, server with {}", self.service, self.mode, self.os)?;
        writeln!(f, "\n{}", self.summary)?;
        let parts =
            [("Do this", &self.steps), ("See that it worked", &self.verify), ("Take it back", &self.undo)];
        for (title, steps) in parts.into_iter().filter(|(_, steps)| !steps.is_empty()) {
            writeln!(f, "\n{title}")?;
            for (number, step) in steps.iter().enumerate() {
                writeln!(f, "{}. {}", number + 1, step.text)?;
                step.commands.iter().try_for_each(|command| writeln!(f, "     {command}"))?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nWorth knowing")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}
