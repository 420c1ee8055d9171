//! The packet path on a bench: `front` is the interface of the clients, `back` that of the servers.
use std::{
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use aya::maps::{Array, HashMap, Map, MapData};
use keel_abi::{Addr, Connection, DropReason, FlowKey, LeaseSet};
use keel_dataplane::{Dataplane, Desired, FrameRun, FrameVerdict, Hop, Options, ServerId, Sizes, compile};
use keel_pool::Outlook;
use nix::sched::{CloneFlags, unshare};

use super::{
    BpfFs,
    packet::{Pkt, checksums_hold, end, ip},
};

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc1];
pub const FRONT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xf0];
pub const BACK_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xb0];
/// The router between us and tunnel servers.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

/// A server's Ethernet address, from the last byte of its address.
pub fn server_mac(address: IpAddr) -> [u8; 6] {
    let last = match address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    [2, 0, 0, 0, 1, last]
}

/// A flow's key.
pub fn key(client: &str, vip: &str, proto: u8) -> FlowKey {
    let ((src, sport), (dst, dport)) = (end(client), end(vip));
    FlowKey {
        src: src.into(),
        dst: dst.into(),
        sport_be: sport.to_be(),
        dport_be: dport.to_be(),
        proto,
        pad: [0; 3],
    }
}

pub struct Rig {
    pub dataplane: Dataplane,
    pub bpf: BpfFs,
    pub front: u32,
    pub back: u32,
    pub desired: Desired,
    options: Options,
}

fn command(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn index(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// Keeps the thread on one CPU: counters per CPU (flood, ICMP rate) then belong to it alone.
pub fn stay_on_cpu(cpu: usize) {
    let mut cpus = nix::sched::CpuSet::new();
    cpus.set(cpu).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpus).unwrap();
}

thread_local! {
    static ENTERED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A network namespace of the test's own, with both interfaces. All rigs of one thread share it: leaving it would destroy
/// the interfaces.
fn enter_namespace() {
    if ENTERED.replace(true) {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root");
    stay_on_cpu(0);
    command("ip link add front type veth peer name back");
}

impl Rig {
    /// An active node without services.
    pub fn empty() -> Self {
        Self::sized(Sizes { connections: 65_536, half_open: 16_384, persistence: 4096, fragments: 1024 })
    }

    pub fn sized(sizes: Sizes) -> Self {
        enter_namespace();
        let bpf = BpfFs::mount();
        let options = Options { bpf_dir: bpf.path(), sizes };
        let (mut dataplane, _) = Dataplane::open(&options).unwrap();
        dataplane.set_active(true).unwrap();
        let (front, back) = (index("front"), index("back"));
        dataplane.know_interface("front", front, FRONT_MAC).unwrap();
        dataplane.know_interface("back", back, BACK_MAC).unwrap();
        Self { dataplane, bpf, front, back, desired: Desired::default(), options }
    }

    /// An active node with the layer-4 services of a `cluster.toml`, all servers up and reachable.
    pub fn new(cluster: &str) -> Self {
        let mut rig = Self::empty();
        rig.apply(cluster);
        rig
    }

    pub fn desire(cluster: &str) -> Desired {
        Self::desire_with(cluster, Outlook::default())
    }

    /// The same, with every service's servers as in `outlook`.
    pub fn desire_with(cluster: &str, outlook: Outlook) -> Desired {
        let (cluster, problems) = keel_model::load_cluster(cluster);
        let cluster = cluster.unwrap_or_else(|| panic!("{problems:#?}"));
        compile(&cluster, &Default::default(), |_| outlook.clone())
    }

    /// Makes the configuration current and resolves all servers. Returns the number of writes.
    pub fn apply(&mut self, cluster: &str) -> usize {
        self.apply_desired(Self::desire(cluster))
    }

    pub fn apply_desired(&mut self, desired: Desired) -> usize {
        let writes = self.dataplane.apply(&desired).unwrap();
        let servers: Vec<Addr> =
            desired.services.iter().flat_map(|s| s.servers.iter().map(|s| s.addr)).collect();
        for addr in servers {
            self.reach(addr, |hop| hop);
        }
        self.desired = desired;
        writes
    }

    /// Resolves a server, with changes to the usual hop: untagged, behind `back`, 1500 bytes.
    pub fn reach(&mut self, addr: Addr, change: impl Fn(Hop) -> Hop) {
        let address = IpAddr::from(addr);
        let local = if address.is_ipv4() { ip("10.0.0.2") } else { ip("fd00:10::2") };
        let hop = Hop {
            mac: server_mac(address),
            own_mac: BACK_MAC,
            ifindex: self.back,
            vlan: 0,
            mtu: 1500,
            local: local.into(),
        };
        self.dataplane.set_hop(addr, Some(change(hop))).unwrap();
    }

    /// A new process over the same pinned maps.
    pub fn restart(self) -> Self {
        let Self { dataplane, bpf, front, back, desired, options } = self;
        drop(dataplane);
        let (dataplane, adoption) = Dataplane::open(&options).unwrap();
        assert_eq!(adoption, keel_dataplane::Adoption::Adopted);
        Self { dataplane, bpf, front, back, desired, options }
    }

    /// One more process over the same pinned maps, beside this one.
    pub fn another(&self) -> Dataplane {
        Dataplane::open(&self.options).unwrap().0
    }

    pub fn run(&self, frame: &[u8], ifindex: u32) -> FrameRun {
        self.dataplane.run_frame(frame, ifindex).unwrap()
    }

    /// A frame from the clients' side.
    pub fn client_sends(&self, frame: &Pkt) -> FrameRun {
        self.run(&frame.build(), self.front)
    }

    /// A frame from the servers' side.
    pub fn server_sends(&self, frame: &Pkt) -> FrameRun {
        self.run(&frame.build(), self.back)
    }

    /// Sends from the clients' side and asserts what comes out on the servers' side, byte by byte.
    #[track_caller]
    pub fn forwards(&self, frame: &Pkt, expected: &Pkt) {
        self.same(self.client_sends(frame), FrameVerdict::Redirect, &expected.build());
    }

    /// Sends from the servers' side and asserts what comes out on the clients' side, byte by byte.
    #[track_caller]
    pub fn returns(&self, frame: &Pkt, expected: &Pkt) {
        self.same(self.server_sends(frame), FrameVerdict::Redirect, &expected.build());
    }

    #[track_caller]
    pub fn same(&self, run: FrameRun, verdict: FrameVerdict, expected: &[u8]) {
        assert_eq!(run.verdict, verdict, "drops: {:?}", self.drops());
        if let Err(wrong) = checksums_hold(&run.frame) {
            panic!(
                "a checksum doesn't hold: {wrong}\ngot      {}\nexpected {}",
                hex(&run.frame),
                hex(expected)
            );
        }
        assert!(run.frame == expected, "\ngot      {}\nexpected {}", hex(&run.frame), hex(expected));
    }

    /// Sends from the clients' side and asserts that it is dropped for `reason`, counted once.
    #[track_caller]
    pub fn dropped(&self, frame: &[u8], reason: DropReason) {
        let before = self.drop_count(reason);
        let run = self.run(frame, self.front);
        assert_eq!(run.verdict, FrameVerdict::Drop, "drops: {:?}", self.drops());
        assert_eq!(self.drop_count(reason), before + 1, "drops: {:?}", self.drops());
    }

    #[track_caller]
    pub fn passes(&self, frame: &[u8]) {
        let run = self.run(frame, self.front);
        assert_eq!(run.verdict, FrameVerdict::Pass, "drops: {:?}", self.drops());
        assert!(run.frame == frame, "a passed frame stays as it is");
    }

    pub fn drop_count(&self, reason: DropReason) -> u64 {
        self.dataplane.drops().unwrap().iter().find(|(r, _)| *r == reason).unwrap().1
    }

    fn drops(&self) -> Vec<(DropReason, u64)> {
        self.dataplane.drops().unwrap().into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// The id of the live server at an address (and NAT port).
    pub fn id(&self, server: &str) -> ServerId {
        let found = |s: &&(ServerId, keel_abi::Server)| {
            s.1.addr == ip(server).into() && s.1.state != keel_abi::state::REMOVED
        };
        self.servers().iter().find(found).unwrap_or_else(|| panic!("no server {server}")).0
    }

    pub fn servers(&self) -> Vec<(ServerId, keel_abi::Server)> {
        self.dataplane.shadow().servers.iter().map(|(id, server)| (*id, *server)).collect()
    }

    /// (pending, active, inactive) connections of a server.
    pub fn counts(&self, server: &str) -> (i64, i64, i64) {
        self.counts_of(self.id(server))
    }

    pub fn counts_of(&self, id: ServerId) -> (i64, i64, i64) {
        let load = self.dataplane.load(id).unwrap();
        (load.pending as i64, load.active as i64, load.inactive as i64)
    }

    /// Makes a server's counts (pending, active, inactive) what they should not be.
    pub fn set_counts(&self, id: ServerId, counts: (i64, i64, i64)) {
        let path = self.bpf.path().join(format!("v{}/maps/LOADS", keel_abi::LAYOUT));
        let map = Map::from_map_data(MapData::from_pin(path).unwrap()).unwrap();
        let mut loads = aya::maps::Array::<_, keel_abi::Load>::try_from(map).unwrap();
        let load = keel_abi::Load {
            pending: counts.0 as u64,
            active: counts.1 as u64,
            inactive: counts.2 as u64,
            overloaded: 0,
        };
        loads.set(id, load, 0).unwrap();
    }

    /// The address of the server that a forwarded frame went to, by its Ethernet address.
    pub fn went_to(&self, frame: &Pkt) -> u8 {
        let run = self.client_sends(frame);
        assert_eq!(run.verdict, FrameVerdict::Redirect, "drops: {:?}", self.drops());
        run.frame[5]
    }

    fn map(&self, name: &str) -> Map {
        let pin = self.bpf.path().join(format!("v{}/maps/{name}", keel_abi::LAYOUT));
        Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap()
    }

    pub fn pinned<K: aya::Pod, V: aya::Pod>(&self, name: &str) -> HashMap<MapData, K, V> {
        HashMap::try_from(self.map(name)).unwrap()
    }

    pub fn array<V: aya::Pod>(&self, name: &str) -> Array<MapData, V> {
        Array::try_from(self.map(name)).unwrap()
    }

    pub fn connection(&self, key: &FlowKey) -> Option<Connection> {
        self.pinned::<FlowKey, Connection>("CONNECTIONS").get(key, 0).ok()
    }

    pub fn half_open(&self, key: &FlowKey) -> Option<Connection> {
        self.pinned::<FlowKey, Connection>("HALF_OPEN").get(key, 0).ok()
    }

    /// Lets every entry of a table look as if it had been idle for longer by `by`; leases have ended long ago then.
    pub fn age(&self, table: &str, by: Duration) {
        self.end_leases();
        self.age_but_no_lease(table, by);
    }

    /// The same while leases run on.
    pub fn age_but_no_lease(&self, table: &str, by: Duration) {
        let mut map = self.pinned::<FlowKey, Connection>(table);
        let keys: Vec<FlowKey> = map.keys().map(Result::unwrap).collect();
        for key in keys {
            let mut entry = map.get(&key, 0).unwrap();
            entry.seen_ns = entry.seen_ns.saturating_sub(by.as_nanos() as u64);
            entry.created_ns = entry.created_ns.saturating_sub(by.as_nanos() as u64);
            map.insert(key, entry, 0).unwrap();
        }
    }

    /// Ends all leases, as time does.
    pub fn end_leases(&self) {
        let mut sets: Array<MapData, LeaseSet> = Array::try_from(self.map("LEASES")).unwrap();
        for index in 0..sets.len() {
            let set = sets.get(&index, 0).unwrap();
            if set.ways.iter().any(|lease| lease.head.until() != 0) {
                sets.set(index, LeaseSet::default(), 0).unwrap();
            }
        }
    }

    /// How many leases there are.
    pub fn leases(&self) -> usize {
        let sets: Array<MapData, LeaseSet> = Array::try_from(self.map("LEASES")).unwrap();
        let ways = sets.iter().flat_map(|set| set.unwrap().ways);
        ways.filter(|lease| lease.head.until() != 0).count()
    }

    pub fn entries(&self, table: &str) -> usize {
        self.pinned::<FlowKey, Connection>(table).keys().count()
    }

    /// Opens a TCP connection from the client's side (DR and TUN): SYN and the ACK that proves it.
    pub fn open(&self, client: &str, vip: &str) -> u8 {
        let server = self.went_to(&Pkt::tcp(client, vip, super::packet::SYN));
        assert_eq!(self.went_to(&Pkt::tcp(client, vip, super::packet::ACK)), server);
        server
    }
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    Duration::from(now).as_nanos() as u64
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
