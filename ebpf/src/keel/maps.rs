//! Every map of the packet path. Sizes are defaults; `keeld` overrides those that the configuration sets.
use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use keel_abi::{
    Addr, Best, Chunk, Config, Connection, FlowKey, FragmentKey, FragmentPorts, HALF_OPEN_DEFAULT,
    INTERFACE_SLOTS, InnerFlow, Interface, LeaseSet, Load, MarkKeys, NatServerKey, NatServerValue, Packet,
    Path, PersistKey, PersistValue, PortKey, ReapRecord, Server, ServerStats, TrafficStats,
};

use crate::fresh::Decision;

/// Inner maps of one outer map may differ in size (linux/bpf.h).
const INNER_MAP: usize = 1 << 12;

/// Settings.
#[btf_map]
pub static CONFIG: Array<Config, 1> = Array::new();

/// Our interfaces, by index modulo the size.
#[btf_map]
pub static INTERFACES: Array<Interface, { INTERFACE_SLOTS as usize }> = Array::new();

/// Where packets may be redirected to.
#[btf_map]
pub static PORTS: DevMapHash<256> = DevMapHash::new();

/// Virtual addresses; the value is the set of port block sizes in use (bit n: blocks of 1 << n ports).
#[btf_map]
pub static ADDRESSES: HashMap<Addr, u32, 65536> = HashMap::new();

/// Virtual address, port block and protocol to service slot.
#[btf_map]
pub static SERVICES: HashMap<PortKey, u32, 131072> = HashMap::new();

/// Service slot to table.
#[btf_map]
pub static TABLES: ArrayOfMaps<Array<Chunk, 1, INNER_MAP>, 16384> = ArrayOfMaps::new();

/// Servers of all services.
#[btf_map]
pub static SERVERS: Array<Server, 65536> = Array::new();

/// Connections per server.
#[btf_map]
pub static LOADS: Array<Load, 65536> = Array::new();

/// Traffic per server.
#[btf_map]
pub static STATS: PerCpuArray<ServerStats, 65536> = PerCpuArray::new();

/// Next hops.
#[btf_map]
pub static PATHS: Array<Path, 16384> = Array::new();

/// Remote address of a path to its index, for "packet too big" from inside a tunnel's way.
#[btf_map]
pub static PATH_OF: HashMap<Addr, u32, 16384> = HashMap::new();

/// Ends of NAT servers.
#[btf_map]
pub static NAT_SERVERS: HashMap<NatServerKey, NatServerValue, 65536> = HashMap::new();

/// Connections that have proved themselves. Never evicted: a full table refuses, the half-open one forgets.
#[btf_map]
pub static CONNECTIONS: HashMap<FlowKey, Connection, 524288> = HashMap::new();

/// Connections that have not: what a flood fills, and only a flood suffers from.
#[btf_map]
pub static HALF_OPEN: LruHashMap<FlowKey, Connection, { HALF_OPEN_DEFAULT as usize }> = LruHashMap::new();

/// Clients that stick to a server.
#[btf_map]
pub static PERSISTENCE: LruHashMap<PersistKey, PersistValue, 262144> = LruHashMap::new();

/// The same for clients whose first connection isn't established yet.
#[btf_map]
pub static PERSISTENCE_NEW: LruHashMap<PersistKey, PersistValue, 32768> = LruHashMap::new();

/// Ports of fragmented datagrams.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, 16384> = LruHashMap::new();

/// Leases of connections. What the mask in the settings leaves out is not in use.
#[btf_map]
pub static LEASES: Array<LeaseSet, 524288, MMAPABLE> = Array::new();

/// What leases know flows by.
#[btf_map]
pub static MARK_KEYS: Array<MarkKeys, 1> = Array::new();

/// `BPF_F_MMAPABLE` (linux/bpf.h): the first element begins with a page, and so every one with a line of the cache.
const MMAPABLE: usize = 1 << 10;

/// Drops by reason.
#[btf_map]
pub static DROPS: PerCpuArray<u64, 32> = PerCpuArray::new();

/// Totals and the flood window.
#[btf_map]
pub static TRAFFIC: PerCpuArray<TrafficStats, 1> = PerCpuArray::new();

/// What one run works on. In a map rather than on the stack: the stack is 512 bytes for all calls together, and the
/// verifier tells apart every combination of values on it, but forgets those in a map (one look at the code instead
/// of dozens).
#[repr(C)]
pub struct Scratch {
    pub packet: Packet,
    pub inner: InnerFlow,
    pub key: FlowKey,
    pub other_key: FlowKey,
    pub entry: Connection,
    pub reverse: Connection,
    pub order: ReapRecord,
    pub best: Best,
    pub decision: Decision,
}

/// See [`Scratch`].
#[btf_map]
pub static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Paths that need a neighbour: tells `keeld` at once.
#[btf_map]
pub static EVENTS: RingBuf<u32, 65536> = RingBuf::new();
