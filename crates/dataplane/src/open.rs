//! Loading the packet program: on a fresh node, or into the middle of running traffic with the maps, links and
//! connections an earlier process left pinned.
use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfLoader, programs::Xdp};
use keel_abi::{Config, LAYOUT, ROLE_PASSIVE};

use crate::{
    DataplaneError, Shadow,
    error::{Context, Result},
    leases,
    maps::{Maps, NAMES, room},
    object,
};

/// Sizes of the tables that traffic fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Established connections (NAT counts twice).
    pub connections: u32,
    /// Half-open connections.
    pub half_open: u32,
    /// Persistent clients.
    pub persistence: u32,
    /// Fragmented datagrams in flight.
    pub fragments: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            connections: 524_288,
            half_open: keel_abi::HALF_OPEN_DEFAULT,
            persistence: 262_144,
            fragments: 16_384,
        }
    }
}

/// How to open the dataplane.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where pins live, `/sys/fs/bpf/evenkeel`; the layout's version is appended.
    pub bpf_dir: PathBuf,
    /// Table sizes, used when the maps are created.
    pub sizes: Sizes,
}

/// What was found at opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// Nothing: a fresh start.
    Fresh,
    /// Maps of an earlier process, with their connections.
    Adopted,
    /// Maps of another version, which lie in memory otherwise than this one's: their connections are lost to it. The
    /// links are not: an interface changes from that program to this one in one step when it is attached.
    Succeeds {
        /// The version of the maps' layout.
        layout: u32,
    },
}

/// The loaded packet path.
pub struct Dataplane {
    pub(crate) maps: Maps,
    pub(crate) shadow: Shadow,
    pub(crate) ebpf: Ebpf,
    pub(crate) root: PathBuf,
    /// Counters of servers that are gone, per service slot, so that totals never fall.
    pub(crate) retired: std::collections::HashMap<u32, crate::ServerCounters>,
    /// By how much the servers' counts were wrong at the last sweep.
    pub(crate) drift: crate::recount::Drift,
    /// Size of the leases' map.
    pub(crate) lease_sets: crate::LeaseSets,
    /// When the part of it that is in use was last changed, as far as known.
    pub(crate) leases_changed_ns: Option<u64>,
}

impl std::fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataplane").field("root", &self.root).finish_non_exhaustive()
    }
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| DataplaneError::PinFolder { path: path.into(), source })
}

/// The folder of this layout's pins.
fn layout_folder(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join(format!("v{LAYOUT}"))
}

impl Dataplane {
    /// Loads the programs, against the pinned maps if there are any, else against new ones that it pins. Forwards
    /// nothing by itself: a fresh node is passive and attached nowhere.
    ///
    /// # Errors
    /// What the kernel refuses, with the remedy.
    pub fn open(options: &Options) -> Result<(Self, Adoption)> {
        let root = layout_folder(&options.bpf_dir);
        make_folder(&root.join("maps"))?;
        make_folder(&root.join("links"))?;
        let predecessor = other_layouts(&root)?.iter().rev().find_map(|path| layout_of(path));
        let adoption = match predecessor {
            _ if root.join("maps/CONNECTIONS").exists() => Adoption::Adopted,
            Some(layout) => Adoption::Succeeds { layout },
            None => Adoption::Fresh,
        };
        let mut ebpf = load(&root, &options.sizes)?;
        for name in ["keel", "keel_reap"] {
            program(&mut ebpf, name)?
                .load()
                .map_err(|source| DataplaneError::Load { source: source.into() })?;
        }
        let mut maps = Maps::take(&mut ebpf, &root.join("maps"))?;
        let config = maps.config.get(&0, 0).context("reading the settings", "CONFIG")?;
        let config = if config.seed == 0 { default_config() } else { config };
        let lease_sets = maps.lease_sets;
        let lease_mask = config.lease_mask.min(lease_sets - 1);
        // A table that was found may have another size than the configuration says.
        let flood_per_second = flood_limit(room(&root.join("maps"), "HALF_OPEN")?);
        let config = Config { flood_per_second, lease_mask, ..config };
        maps.config.set(0, config, 0).context("writing the settings", "CONFIG")?;
        leases::give_keys(&mut maps)?;
        let shadow = Shadow::read(&maps)?;
        let (retired, drift) = Default::default();
        let leases_changed_ns = (adoption != Adoption::Adopted).then_some(0);
        let opened = Self { maps, shadow, ebpf, root, retired, drift, lease_sets, leases_changed_ns };
        Ok((opened, adoption))
    }

    /// Removes every trace: detaches the program from all interfaces and unpins all maps of all layouts. Connections
    /// are forgotten.
    ///
    /// # Errors
    /// A pin that can't be removed.
    pub fn detach_all(bpf_dir: &Path) -> Result<bool> {
        remove_layouts(bpf_dir)
    }

    /// Removes what versions with other layouts have left: their maps, and their program from the interfaces that this one
    /// has not taken over.
    ///
    /// # Errors
    /// A pin that can't be removed.
    pub fn remove_predecessors(&mut self) -> Result<()> {
        other_layouts(&self.root)?.into_iter().try_for_each(remove_layout)
    }

    /// The folder of the maps' pins.
    pub(crate) fn pins(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Keys the hashes with this number, if no service depends on another one already. False if one does.
    ///
    /// # Errors
    /// The map can't be read or written.
    pub fn use_seed(&mut self, seed: u64) -> Result<bool> {
        let config = self.config()?;
        if config.seed != seed && !self.shadow.services.is_empty() {
            return Ok(false);
        }
        self.maps.config.set(0, Config { seed, ..config }, 0).context("writing the settings", "CONFIG")?;
        Ok(true)
    }

    /// The number that the hashes are keyed with, unless nobody has chosen one.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn own_seed(&self) -> Result<Option<u64>> {
        Ok(Some(self.config()?.seed).filter(|seed| *seed != SEED))
    }

    /// The current settings.
    pub(crate) fn config(&self) -> Result<Config> {
        self.maps.config.get(&0, 0).context("reading the settings", "CONFIG")
    }

    /// Turns forwarding of VIP traffic on or off.
    ///
    /// # Errors
    /// The map can't be written.
    pub fn set_active(&mut self, active: bool) -> Result<()> {
        let mut config = self.config()?;
        config.role = if active { keel_abi::ROLE_ACTIVE } else { ROLE_PASSIVE };
        self.maps.config.set(0, config, 0).context("writing the settings", "CONFIG")
    }

    /// Whether VIP traffic is forwarded.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn is_active(&self) -> Result<bool> {
        Ok(self.config()?.role == keel_abi::ROLE_ACTIVE)
    }

    /// What the maps hold, as last written.
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// The next hops that packets had to be dropped for since the last call.
    pub fn wanted_paths(&mut self) -> Vec<crate::PathId> {
        let mut wanted = Vec::new();
        while let Some(item) = self.maps.events.next() {
            if let Ok(bytes) = <[u8; 4]>::try_from(&item[..4.min(item.len())]) {
                wanted.push(u32::from_ne_bytes(bytes));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Bytes a verifier run looked at, for the curious: instructions of the main program.
    pub fn verified_instructions(&self) -> Option<u32> {
        let aya::programs::Program::Xdp(program) = self.ebpf.program("keel")? else { return None };
        program.info().ok()?.verified_instruction_count()
    }
}

fn load(root: &Path, sizes: &Sizes) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("CONNECTIONS", sizes.connections)
        .map_max_entries("HALF_OPEN", sizes.half_open)
        .map_max_entries("PERSISTENCE", sizes.persistence)
        .map_max_entries("FRAGMENTS", sizes.fragments)
        .map_max_entries("LEASES", lease_sets(sizes));
    for name in NAMES {
        loader.map_pin_path(name, root.join("maps").join(name));
    }
    loader.load(object::bytes()).map_err(|source| DataplaneError::Load { source: source.into() })
}

pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp> {
    let missing = DataplaneError::Missing { kind: "program", name };
    match ebpf.program_mut(name) {
        Some(aya::programs::Program::Xdp(program)) => Ok(program),
        _ => Err(missing),
    }
}

/// A set for every entry that fits, and a power of two.
fn lease_sets(sizes: &Sizes) -> u32 {
    let sets = sizes.connections;
    sets.checked_next_power_of_two().unwrap_or(1 << 31).max(leases::FIRST)
}

fn default_config() -> Config {
    Config {
        role: ROLE_PASSIVE,
        nat: 0,
        seed: SEED,
        flood_per_second: 50_000,
        icmp_per_second: 1000,
        lease_mask: leases::FIRST - 1,
        pad: 0,
    }
}

/// New flows per second and CPU above which only the ring decides: what would turn the half-open table over within three
/// seconds, so that no handshake is forgotten before its client has answered (RFC 6298: its first retry is after one).
fn flood_limit(half_open: u32) -> u32 {
    let cpus = aya::util::nr_cpus().unwrap_or(1) as u32;
    (half_open / 3 / cpus.max(1)).max(1000)
}

/// Until [`Dataplane::use_seed`] gives it another.
const SEED: u64 = 0x6576_656e_6b65_656c;

/// Unpins all layouts' maps and links, and nothing else that may be pinned there.
fn remove_layouts(bpf_dir: &Path) -> Result<bool> {
    let layouts = layouts(bpf_dir)?;
    let found = !layouts.is_empty();
    layouts.into_iter().try_for_each(remove_layout)?;
    // The folder itself, unless something of somebody else's is in it.
    if entries(bpf_dir)?.is_empty() {
        remove_folder(bpf_dir.into())?;
    }
    Ok(found)
}

/// Unpins what lies in `maps` and `links` below this folder.
fn remove_layout(layout: PathBuf) -> Result<()> {
    for folder in [layout.join("links"), layout.join("maps")] {
        for pin in entries(&folder)? {
            fs::remove_file(&pin).map_err(|source| DataplaneError::Unpin { path: pin, source })?;
        }
        remove_folder(folder)?;
    }
    remove_folder(layout)
}

/// The folders `v<N>`, in the order of their numbers.
fn layouts(bpf_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        entries(bpf_dir)?.into_iter().filter(|path| layout_of(path).is_some()).collect();
    found.sort_by_key(|path| layout_of(path));
    Ok(found)
}

/// All but the one that is in use.
pub(crate) fn other_layouts(root: &Path) -> Result<Vec<PathBuf>> {
    let all = root.parent().map_or_else(|| Ok(Vec::new()), layouts)?;
    Ok(all.into_iter().filter(|path| path != root).collect())
}

fn layout_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix('v')?.parse().ok()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(DataplaneError::Unpin { path: folder.into(), source }),
    }
}

fn remove_folder(folder: PathBuf) -> Result<()> {
    match fs::remove_dir(&folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(DataplaneError::Unpin { path: folder, source })
        }
        _ => Ok(()),
    }
}
