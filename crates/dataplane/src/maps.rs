//! Typed handles to every map of the packet path.
use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path as FsPath,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, of_maps::ArrayOfMaps, xdp::DevMapHash},
};
use keel_abi::{
    Addr, Chunk, Config, Connection, FlowKey, Interface, Load, MarkKeys, NatServerKey, NatServerValue, Path,
    PersistKey, PersistValue, PortKey, Server, ServerStats, TrafficStats,
};

use crate::{
    DataplaneError, LeaseSets,
    error::{Context, Result},
};

/// Names of all maps, which are also the names of their pins.
pub(crate) const NAMES: [&str; 22] = [
    "CONFIG",
    "INTERFACES",
    "PORTS",
    "ADDRESSES",
    "SERVICES",
    "TABLES",
    "SERVERS",
    "LOADS",
    "STATS",
    "PATHS",
    "PATH_OF",
    "NAT_SERVERS",
    "CONNECTIONS",
    "HALF_OPEN",
    "PERSISTENCE",
    "PERSISTENCE_NEW",
    "FRAGMENTS",
    "LEASES",
    "MARK_KEYS",
    "DROPS",
    "TRAFFIC",
    "EVENTS",
];

/// The maps, as userspace uses them.
pub(crate) struct Maps {
    pub(crate) config: Array<MapData, Config>,
    pub(crate) interfaces: Array<MapData, Interface>,
    pub(crate) ports: DevMapHash<MapData>,
    pub(crate) addresses: HashMap<MapData, Addr, u32>,
    pub(crate) services: HashMap<MapData, PortKey, u32>,
    /// The same map as `tables`, for updates in batches.
    pub(crate) tables_batch: MapData,
    pub(crate) tables: ArrayOfMaps<MapData, Array<MapData, Chunk>>,
    pub(crate) servers: Array<MapData, Server>,
    pub(crate) loads: Array<MapData, Load>,
    pub(crate) stats: PerCpuArray<MapData, ServerStats>,
    /// The same maps, for reading many entries at once.
    pub(crate) loads_batch: MapData,
    pub(crate) stats_batch: MapData,
    pub(crate) paths: Array<MapData, Path>,
    pub(crate) path_of: HashMap<MapData, Addr, u32>,
    pub(crate) nat_servers: HashMap<MapData, NatServerKey, NatServerValue>,
    pub(crate) connections: Raw<FlowKey, Connection>,
    pub(crate) half_open: Raw<FlowKey, Connection>,
    pub(crate) persistence: HashMap<MapData, PersistKey, PersistValue>,
    pub(crate) persistence_new: HashMap<MapData, PersistKey, PersistValue>,
    /// Sets of leases that the map has; one that was found may have another size than the configuration says.
    pub(crate) lease_sets: LeaseSets,
    pub(crate) mark_keys: Array<MapData, MarkKeys>,
    pub(crate) drops: PerCpuArray<MapData, u64>,
    pub(crate) traffic: PerCpuArray<MapData, TrafficStats>,
    pub(crate) events: RingBuf<MapData>,
}

/// A map that is read in batches, besides the usual way.
pub(crate) struct Raw<K, V> {
    data: MapData,
    shape: std::marker::PhantomData<(K, V)>,
}

impl<K, V> Raw<K, V> {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

fn typed<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T>
where
    T: TryFrom<Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or(DataplaneError::Missing { kind: "map", name })?;
    T::try_from(map).map_err(|source| DataplaneError::Layout { name, source })
}

fn raw<K, V>(ebpf: &mut Ebpf, name: &'static str) -> Result<Raw<K, V>> {
    match ebpf.take_map(name) {
        Some(Map::HashMap(data) | Map::LruHashMap(data)) => Ok(Raw { data, shape: std::marker::PhantomData }),
        _ => Err(DataplaneError::Missing { kind: "map", name }),
    }
}

/// Another handle to a map, by its pin. aya's typed ones show neither their descriptor nor the size that a map which was
/// found has.
pub(crate) fn pinned(pins: &FsPath, name: &'static str) -> Result<MapData> {
    MapData::from_pin(pins.join(name)).context("opening", name)
}

/// How many entries a pinned map has room for.
pub(crate) fn room(pins: &FsPath, name: &'static str) -> Result<u32> {
    Ok(pinned(pins, name)?.info().context("asking for the size", name)?.max_entries())
}

impl Maps {
    /// Takes all maps out of the loaded object.
    pub(crate) fn take(ebpf: &mut Ebpf, pins: &FsPath) -> Result<Self> {
        Ok(Self {
            config: typed(ebpf, "CONFIG")?,
            interfaces: typed(ebpf, "INTERFACES")?,
            ports: typed(ebpf, "PORTS")?,
            addresses: typed(ebpf, "ADDRESSES")?,
            services: typed(ebpf, "SERVICES")?,
            tables: typed(ebpf, "TABLES")?,
            tables_batch: pinned(pins, "TABLES")?,
            servers: typed(ebpf, "SERVERS")?,
            loads: typed(ebpf, "LOADS")?,
            stats: typed(ebpf, "STATS")?,
            loads_batch: pinned(pins, "LOADS")?,
            stats_batch: pinned(pins, "STATS")?,
            paths: typed(ebpf, "PATHS")?,
            path_of: typed(ebpf, "PATH_OF")?,
            nat_servers: typed(ebpf, "NAT_SERVERS")?,
            connections: raw(ebpf, "CONNECTIONS")?,
            half_open: raw(ebpf, "HALF_OPEN")?,
            persistence: typed(ebpf, "PERSISTENCE")?,
            persistence_new: typed(ebpf, "PERSISTENCE_NEW")?,
            lease_sets: room(pins, "LEASES")?,
            mark_keys: typed(ebpf, "MARK_KEYS")?,
            drops: typed(ebpf, "DROPS")?,
            traffic: typed(ebpf, "TRAFFIC")?,
            events: typed(ebpf, "EVENTS")?,
        })
    }
}
