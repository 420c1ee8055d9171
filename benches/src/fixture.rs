//! A dataplane to be measured without a lab: one service in the mode wanted on the loopback interface, its servers behind
//! a next hop that needs nobody to answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::{ProgramFd, loaded_programs};
use keel_abi::{
    Addr, Config, IPPROTO_TCP, LeaseSet, MODE_DR, MODE_GUE, MODE_NAT, MODE_TUN, PortKey, policy, scheduler,
    state,
};
use keel_dataplane::{Dataplane, Desired, DesiredServer, DesiredService, Hop, Options, Sizes, Totals};
use serde::Serialize;

use crate::frames::{OWN_MAC, PEER_MAC, SYN, Template, Way};
use crate::room;

/// Servers of a service that is measured.
pub(crate) const SERVERS: u32 = 64;
/// The interface a test run without a context comes in by.
const LOOPBACK: u32 = 1;
const PORT: u16 = 80;
const NAT_PORT: u16 = 8080;
/// Port of GUE (IANA).
const GUE_PORT: u16 = 6080;

/// A way a packet is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Dr,
    Dr6,
    Nat,
    Nat6,
    Ipip,
    Ip6ip6,
    FourInSix,
    Gue,
}

impl Mode {
    fn number(self) -> u8 {
        match self {
            Self::Dr | Self::Dr6 => MODE_DR,
            Self::Nat | Self::Nat6 => MODE_NAT,
            Self::Ipip | Self::Ip6ip6 | Self::FourInSix => MODE_TUN,
            Self::Gue => MODE_GUE,
        }
    }

    /// The first virtual address.
    pub(crate) fn vip(self) -> IpAddr {
        match self {
            Self::Dr6 | Self::Nat6 | Self::Ip6ip6 => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0).into(),
            _ => Ipv4Addr::new(10, 2, 0, 0).into(),
        }
    }

    /// The first server.
    pub(crate) fn server(self) -> IpAddr {
        match self {
            Self::Dr6 | Self::Nat6 | Self::Ip6ip6 | Self::FourInSix => {
                Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0).into()
            }
            _ => Ipv4Addr::new(10, 1, 0, 0).into(),
        }
    }

    fn local(self) -> IpAddr {
        match self.server() {
            IpAddr::V4(_) => Ipv4Addr::new(10, 9, 0, 1).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// Bytes a tunnel puts in front of the frame.
    pub(crate) fn growth(self) -> Option<u32> {
        match self {
            Self::Dr | Self::Dr6 | Self::Nat | Self::Nat6 => None,
            Self::Ipip => Some(20),
            Self::Ip6ip6 | Self::FourInSix => Some(40),
            Self::Gue => Some(28),
        }
    }

    /// A segment from a client to the service; to `services` services in turn.
    pub(crate) fn request(self, services: u32, flags: u8) -> Template {
        Template::tcp(Way::FromClient, self.vip(), services, PORT, flags)
    }

    /// A client's first segment to the second service.
    pub(crate) fn first(self) -> Template {
        Template::tcp(Way::FromClient, nth(self.vip(), 1), 1, PORT, SYN)
    }

    /// A segment from the server that flow has, when the flows were scheduled in turn.
    pub(crate) fn reply(self, flags: u8) -> Template {
        Template::tcp(Way::ToClient, self.server(), SERVERS, NAT_PORT, flags)
    }
}

/// The `n`th address from `first` on.
pub(crate) fn nth(first: IpAddr, n: u32) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + n).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(n)).into(),
    }
}

/// `services` services of `mode` with `servers` servers each, the same for all.
pub(crate) fn desired(mode: Mode, services: u32, servers: u32, how: u32) -> Desired {
    let service = |n: u32| DesiredService {
        name: format!("service {n}"),
        keys: vec![PortKey { addr: nth(mode.vip(), n).into(), block: PORT, proto: IPPROTO_TCP, shift: 0 }],
        scheduler: how,
        flags: 0,
        persist_ns: 0,
        prefix4: 32,
        prefix6: 128,
        servers: (0..servers).map(|n| server(mode, n)).collect(),
    };
    Desired { services: (0..services).map(service).collect() }
}

fn server(mode: Mode, n: u32) -> DesiredServer {
    let port: u16 = match mode.number() {
        MODE_NAT => NAT_PORT,
        MODE_GUE => GUE_PORT,
        _ => 0,
    };
    DesiredServer {
        name: format!("server {n}"),
        addr: nth(mode.server(), n).into(),
        port_be: port.to_be(),
        mode: mode.number(),
        state: state::ONLINE,
        policy: policy::RESCHEDULE,
        timeouts: [60, 900, 120, 10, 300],
        member: true,
        weight: 100,
        max_connections: 0,
        readmit_connections: 0,
    }
}

/// Table sizes for a million connections, in NAT too.
pub(crate) fn sizes(connections: u32) -> Sizes {
    Sizes { connections, ..Sizes::default() }
}

/// A filled dataplane.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) dataplane: Dataplane,
    clock_ns: u64,
}

impl Fixture {
    /// Two services of `mode`, one for connections that stay and one for those that begin; servers take turns.
    pub(crate) fn new(mode: Mode, connections: u32) -> Result<Self> {
        Self::with(mode, &desired(mode, 2, SERVERS, scheduler::RR), SERVERS, connections)
    }

    /// The same without leases: every packet goes by the connection table.
    pub(crate) fn without_leases(mode: Mode, connections: u32) -> Result<Self> {
        let mut desired = desired(mode, 2, SERVERS, scheduler::RR);
        for server in desired.services.iter_mut().flat_map(|service| &mut service.servers) {
            // Leases are a quarter of the shortest idle time; nothing sweeps here.
            server.timeouts = [0; 5];
        }
        Self::with(mode, &desired, SERVERS, connections)
    }

    /// `desired`, whose services use the first `servers` servers of `mode`.
    pub(crate) fn with(mode: Mode, desired: &Desired, servers: u32, connections: u32) -> Result<Self> {
        let options = Options { bpf_dir: room::pins(), sizes: sizes(connections) };
        let (mut dataplane, _) = Dataplane::open(&options)?;
        dataplane.know_interface("lo", LOOPBACK, OWN_MAC)?;
        dataplane.apply(desired)?;
        let hop = Hop {
            mac: PEER_MAC,
            own_mac: OWN_MAC,
            ifindex: LOOPBACK,
            vlan: 0,
            mtu: 1500,
            local: Addr::from(mode.local()),
        };
        for n in 0..servers {
            dataplane.set_hop(nth(mode.server(), n).into(), Some(hop))?;
        }
        dataplane.set_active(true)?;
        allow_flood(u32::MAX)?;
        let mut fixture = Self { dataplane, clock_ns: 0 };
        // From here on the time of the last change is known.
        fixture.fit_leases(0)?;
        Ok(fixture)
    }

    /// Lets the leases' part in use follow the number of connections, as the daemon's sweep does within seconds.
    pub(crate) fn fit_leases(&mut self, connections: u64) -> Result<()> {
        // Changes have to lie apart.
        self.clock_ns += 60_000_000_000;
        Ok(self.dataplane.fit_leases(connections, self.clock_ns)?)
    }

    /// Ends all leases, as time does.
    pub(crate) fn end_leases(&self) -> Result<()> {
        let mut sets: Array<MapData, LeaseSet> = Array::try_from(Map::Array(pinned("LEASES")?))?;
        for index in 0..sets.len() {
            sets.set(index, LeaseSet::default(), 0)?;
        }
        Ok(())
    }

    /// Forwarded and passed so far.
    pub(crate) fn totals(&self) -> Result<Totals> {
        Ok(self.dataplane.totals()?)
    }

    /// Established connections.
    pub(crate) fn established(&self) -> Result<u64> {
        let mut count = 0;
        self.dataplane.connections(|row| count += u64::from(!row.half_open))?;
        Ok(count)
    }

    /// Removes everything of it from the kernel.
    pub(crate) fn remove(self) -> Result<()> {
        drop(self);
        ensure!(Dataplane::detach_all(&room::pins())?, "nothing was pinned");
        Ok(())
    }
}

/// A pinned map of the dataplane in this room.
pub(crate) fn pinned(name: &str) -> Result<MapData> {
    let path = room::pins().join(format!("v{}", keel_abi::LAYOUT)).join("maps").join(name);
    MapData::from_pin(path).with_context(|| format!("opening the pinned map {name}"))
}

/// New flows per second from which nothing is remembered: measurements come faster than that.
pub(crate) fn allow_flood(per_second: u32) -> Result<()> {
    let mut map: Array<_, Config> = Map::Array(pinned("CONFIG")?).try_into()?;
    let config = Config { flood_per_second: per_second, ..map.get(&0, 0)? };
    map.set(0, config, 0).context("changing the settings")
}

/// What the kernel says about the packet path of this room.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) fd: ProgramFd,
    pub(crate) verified_instructions: u32,
    pub(crate) translated_bytes: u32,
    pub(crate) machine_code_bytes: u32,
}

/// Finds the packet path by the maps that it uses.
pub(crate) fn program() -> Result<Program> {
    let settings = pinned("CONFIG")?.info()?.id();
    for info in loaded_programs() {
        // Programs of others may be gone by the time they are asked about.
        let Ok(info) = info else { continue };
        let maps = info.map_ids().ok().flatten().unwrap_or_default();
        if info.name() == b"keel" && maps.contains(&settings) {
            return Ok(Program {
                fd: info.fd()?,
                verified_instructions: info.verified_instruction_count().unwrap_or(0),
                translated_bytes: info.size_translated().unwrap_or(0),
                machine_code_bytes: info.size_jitted(),
            });
        }
    }
    anyhow::bail!("the kernel doesn't list the packet path")
}
