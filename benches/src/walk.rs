//! The walking program in the kernel: one system call runs a program on a million frames of as many flows as wanted.
//!
//! `BPF_PROG_TEST_RUN` with a repeat count hands a program its own output again. So the program that is run is our `walk`: it
//! shortens the frame to its length, writes all headers anew from a template, with the next flow's client in it, and
//! tail-calls the program that is measured. What that costs is measured with a bare program in its place.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::frames::Template;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.o"));

/// A program that can be walked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// `XDP_PASS` and nothing else.
    Bare,
    /// Room in front of the frame, this many bytes, and nothing else.
    Grow(u32),
    /// The packet path.
    Keel,
    /// Sends the frame.
    Emit,
}

impl Target {
    fn index(self) -> u32 {
        match self {
            Self::Bare => 0,
            Self::Grow(_) => 1,
            Self::Keel => 2,
            Self::Emit => 3,
        }
    }
}

/// Which flows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// Where the walk begins.
    pub(crate) start: u32,
    /// One more than the last flow.
    pub(crate) count: u32,
    /// From one to the next.
    pub(crate) stride: u32,
    /// So many in a row get a frame before they get the next one.
    pub(crate) block: u32,
}

impl Route {
    /// One after the other.
    pub(crate) fn in_order(start: u32, count: u32) -> Self {
        Self { start, count, stride: 1, block: 1 }
    }

    /// Blocks of flows, one after the other: a frame for each of a block, then the next frame.
    pub(crate) fn in_blocks(start: u32, count: u32, block: u32) -> Self {
        Self { start, count, stride: block, block }
    }

    /// All of `count` flows, in an order in which neighbours in time are no neighbours in memory.
    pub(crate) fn scattered(count: u32) -> Self {
        let golden = (f64::from(count) * 0.618_034) as u32;
        let stride = (golden..count).find(|stride| gcd(*stride, count) == 1).unwrap_or(1);
        Self { start: 0, count, stride: if count == 1 { 0 } else { stride }, block: 1 }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What is left after the last run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Mean nanoseconds of a run, walking included.
    pub(crate) ns: f64,
    /// The last verdict.
    pub(crate) verdict: u32,
    /// The last frame.
    pub(crate) frame: Vec<u8>,
}

/// The measuring programs, loaded.
pub(crate) struct Walker {
    ebpf: Ebpf,
    walk: Array<MapData, [u32; 10]>,
    templates: Array<MapData, [u8; 112]>,
    targets: ProgramArray<MapData>,
    /// Entries of the table of [`crate::floor`].
    entries: u32,
}

impl Walker {
    pub(crate) fn load() -> Result<Self> {
        Self::with_table("HASH", 1)
    }

    /// With room in one of the tables of [`crate::floor`].
    pub(crate) fn with_table(table: &str, entries: u32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(table, entries);
        let mut ebpf = loader.load(OBJECT).context("loading the measuring programs")?;
        let take =
            |ebpf: &mut Ebpf, name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let walk = take(&mut ebpf, "WALK")?.try_into()?;
        let templates = take(&mut ebpf, "TEMPLATES")?.try_into()?;
        let mut targets: ProgramArray<MapData> = take(&mut ebpf, "TARGETS")?.try_into()?;
        for (name, target) in [("bare", Target::Bare), ("grow", Target::Grow(0)), ("emit", Target::Emit)] {
            let program = program(&mut ebpf, name)?;
            program.load().with_context(|| format!("loading {name}"))?;
            targets.set(target.index(), program.fd()?, 0)?;
        }
        program(&mut ebpf, "walk")?.load().context("loading walk")?;
        Ok(Self { ebpf, walk, templates, targets, entries })
    }

    /// Measures this program as [`Target::Keel`].
    pub(crate) fn measure(&mut self, program: &ProgramFd) -> Result<()> {
        self.targets.set(Target::Keel.index(), program, 0).context("making the packet path callable")
    }

    /// Measures one of the measuring programs as [`Target::Keel`].
    pub(crate) fn measure_own(&mut self, name: &str) -> Result<()> {
        let program = program(&mut self.ebpf, name)?;
        program.load().with_context(|| format!("loading {name}"))?;
        self.targets.set(Target::Keel.index(), program.fd()?, 0).context("making it callable")
    }

    /// Runs `target` `runs` times, on every one of `templates` for each flow.
    pub(crate) fn run(
        &mut self,
        target: Target,
        templates: &[&Template],
        route: Route,
        runs: u32,
    ) -> Result<Outcome> {
        self.prepare(target, templates, route)?;
        let mut out = vec![0; 512];
        let options = TestRunOptions {
            data_in: Some(&templates[0].bytes),
            data_out: Some(&mut out),
            repeat: runs,
            ..Default::default()
        };
        let done = program(&mut self.ebpf, "walk")?.test_run(options).context("running the packet path")?;
        ensure!(done.return_value != 0, "the frame could not be restored, or the program failed");
        out.truncate(done.data_size_out as usize);
        Ok(Outcome { ns: done.duration.as_nanos() as f64, verdict: done.return_value, frame: out })
    }

    /// Sends `runs` frames for real out of the interface `ifindex` of this network namespace.
    pub(crate) fn inject(
        &mut self,
        templates: &[&Template],
        route: Route,
        ifindex: u32,
        runs: u32,
    ) -> Result<()> {
        self.prepare(Target::Emit, templates, route)?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, templates[0].bytes.len() as u32, 0, ifindex, 0, 0];
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(&templates[0].bytes),
            ctx_in: Some(&context),
            repeat: runs,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..Default::default()
        };
        program(&mut self.ebpf, "walk")?.test_run(options).context("sending frames")?;
        Ok(())
    }

    /// Attachable programs: `sink`, `nothing`.
    pub(crate) fn attachable(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = program(&mut self.ebpf, name)?;
        if program.fd().is_err() {
            program.load().with_context(|| format!("loading {name}"))?;
        }
        Ok(program)
    }

    /// Tells `relay` what to send where.
    pub(crate) fn relay(&mut self, vip: Ipv4Addr, server: [u8; 6], own: [u8; 6]) -> Result<()> {
        let bytes = [&vip.octets()[..], &server, &own].concat();
        let mut words = [0u16; 8];
        for (word, pair) in words.iter_mut().zip(bytes.chunks(2)) {
            *word = u16::from_ne_bytes([pair[0], pair[1]]);
        }
        let map = self.ebpf.map_mut("RELAY").context("no map RELAY")?;
        let mut map: Array<_, [u16; 8]> = map.try_into()?;
        map.set(0, words, 0).context("setting the relay")
    }

    /// What `sink` has counted since it was loaded.
    pub(crate) fn sunk(&self) -> Result<u64> {
        let map = self.ebpf.map("SUNK").context("no map SUNK")?;
        let sunk: aya::maps::PerCpuArray<_, u64> = map.try_into()?;
        Ok(sunk.get(&0, 0)?.iter().sum())
    }

    fn prepare(&mut self, target: Target, templates: &[&Template], route: Route) -> Result<()> {
        for (i, template) in templates.iter().enumerate() {
            self.templates.set(i as u32, template.image(), 0)?;
        }
        let growth = if let Target::Grow(bytes) = target { bytes } else { self.entries - 1 };
        let Route { start, count, stride, block } = route;
        let walk = [start, count, stride, 0, templates.len() as u32, 0, target.index(), growth, block, 0];
        self.walk.set(0, walk, 0).context("choosing the flows")
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    program.try_into().with_context(|| format!("{name} is no XDP program"))
}
