//! Nanoseconds per packet of every path, alone: no driver, no queue, no other core.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keel_abi::scheduler;
use serde::Serialize;

use crate::effort::Effort;
use crate::fixture::{self, Fixture, Mode, SERVERS, allow_flood, desired};
use crate::frames::{ACK, SYN, Template};
use crate::walk::{Route, Target, Walker};

/// Flows that begin come from here on.
const FRESH: u32 = 1 << 24;
const PASS: u32 = 2;
const TX: u32 = 3;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) path: &'static str,
    /// known, new, foreign, …
    pub(crate) packet: &'static str,
    /// Connections in the table; for known packets also the flows that take turns.
    pub(crate) flows: u32,
    /// Entries that fit into the table.
    pub(crate) table: u32,
    /// Median over the rounds: walking and the program.
    pub(crate) gross_ns: f64,
    /// Median: walking alone.
    pub(crate) walking_ns: f64,
    /// The difference.
    pub(crate) net_ns: f64,
    /// The difference in the round in which it was least.
    pub(crate) least_ns: f64,
    /// And in which it was most.
    pub(crate) most_ns: f64,
}

/// What is measured with which frames.
struct Case<'a> {
    path: &'static str,
    packet: &'static str,
    flows: u32,
    /// In turn, of each flow.
    frames: &'a [&'a Template],
    route: Route,
    growth: Option<u32>,
    verdict: u32,
}

/// Everything of a section.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    /// The bare program without walking, the kernel's call and nothing else.
    pub(crate) bare_ns: f64,
    pub(crate) verified_instructions: u32,
    pub(crate) bytecode_bytes: u32,
    pub(crate) machine_code_bytes: u32,
    pub(crate) cells: Vec<Cell>,
    /// Mean of the two packets that open a connection, SYN and ACK, per path.
    pub(crate) handshakes: Vec<Handshake>,
}

/// What opening connections costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Handshake {
    pub(crate) path: &'static str,
    pub(crate) flows: u32,
    /// Both packets together, walking taken off.
    pub(crate) net_ns: f64,
}

struct Bench<'e> {
    effort: &'e Effort,
    walker: Walker,
    section: Section,
    /// Size of the table that is in use.
    table: u32,
}

/// Every path.
pub(crate) fn measure(effort: &Effort) -> Result<Section> {
    let walker = Walker::load()?;
    let section = Section {
        bare_ns: 0.0,
        verified_instructions: 0,
        bytecode_bytes: 0,
        machine_code_bytes: 0,
        cells: Vec::new(),
        handshakes: Vec::new(),
    };
    let mut bench = Bench { effort, walker, section, table: effort.table() };
    bench.section.bare_ns = bench.bare()?;
    let modes = [
        ("DR", Mode::Dr),
        ("DR, IPv6", Mode::Dr6),
        ("NAT", Mode::Nat),
        ("NAT, IPv6", Mode::Nat6),
        ("IPIP", Mode::Ipip),
        ("IP6IP6", Mode::Ip6ip6),
        ("4-in-6", Mode::FourInSix),
        ("GUE", Mode::Gue),
    ];
    for (path, mode) in modes {
        bench.mode(path, mode).with_context(|| format!("measuring {path}"))?;
    }
    bench.unleased().context("measuring the connection table")?;
    bench.schedulers().context("measuring the schedulers")?;
    Ok(bench.section)
}

impl Bench<'_> {
    /// The kernel's own cost of a run, walked by nobody.
    fn bare(&mut self) -> Result<f64> {
        use aya::programs::{TestRun as _, TestRunOptions};
        let frame = [0u8; 64];
        let program = self.walker.attachable("bare")?;
        let mut samples = Vec::new();
        for _ in 0..self.effort.rounds() {
            let options =
                TestRunOptions { data_in: Some(&frame), repeat: self.effort.runs(1), ..Default::default() };
            samples.push(program.test_run(options)?.duration.as_nanos() as f64);
        }
        Ok(median(&samples))
    }

    fn mode(&mut self, path: &'static str, mode: Mode) -> Result<()> {
        for (table, flows) in self.effort.tables() {
            let mut fixture = Fixture::new(mode, table)?;
            let program = fixture::program()?;
            self.section.verified_instructions = program.verified_instructions;
            self.section.bytecode_bytes = program.translated_bytes;
            self.section.machine_code_bytes = program.machine_code_bytes;
            self.walker.measure(&program.fd)?;
            self.table = table;
            let mut have = 0;
            for flows in flows {
                self.open(path, mode, &fixture, have, flows)?;
                fixture.fit_leases(u64::from(flows))?;
                have = flows;
                // A lease begins with a packet that comes a while after its connection.
                std::thread::sleep(Duration::from_millis(300));
                self.known(path, mode, &fixture, flows)?;
            }
            drop(program);
            fixture.remove()?;
        }
        Ok(())
    }

    /// Known connections without leases.
    fn unleased(&mut self) -> Result<()> {
        let (mode, path) = (Mode::Dr, "DR");
        for (table, flows) in self.effort.tables() {
            let fixture = Fixture::without_leases(mode, table)?;
            self.walker.measure(&fixture::program()?.fd)?;
            self.table = table;
            let mut have = 0;
            let template = mode.request(1, ACK);
            for flows in flows {
                self.run_open(path, mode, &fixture, have, flows)?;
                have = flows;
                let route = Route::scattered(flows);
                let case = Case {
                    path,
                    packet: "unleased",
                    flows,
                    frames: &[&template],
                    route,
                    growth: None,
                    verdict: TX,
                };
                self.case(&fixture, &case)?;
            }
            fixture.remove()?;
        }
        Ok(())
    }

    /// Opens the connections `from..to` and notes what that took.
    fn open(&mut self, path: &'static str, mode: Mode, fixture: &Fixture, from: u32, to: u32) -> Result<()> {
        let net_ns = self.run_open(path, mode, fixture, from, to)?;
        if to - from > 10_000 {
            self.section.handshakes.push(Handshake { path, flows: to, net_ns });
        }
        Ok(())
    }

    /// Opens the connections `from..to`; net nanoseconds of each one's two packets.
    fn run_open(&mut self, path: &str, mode: Mode, fixture: &Fixture, from: u32, to: u32) -> Result<f64> {
        let (syn, ack) = (mode.request(1, SYN), mode.request(1, ACK));
        let (frames, route) = ([&syn, &ack], Route::in_order(from, to));
        let runs = (to - from) * 2;
        let gross = self.walker.run(Target::Keel, &frames, route, runs)?.ns;
        let entries = fixture.established()?;
        ensure!(entries == u64::from(to), "{path}: {entries} of {to} connections are in the table");
        let walking = self.walker.run(Target::Bare, &frames, route, runs)?.ns;
        Ok((gross - walking) * 2.0)
    }

    fn known(&mut self, path: &'static str, mode: Mode, fixture: &Fixture, flows: u32) -> Result<()> {
        let nat = matches!(mode, Mode::Nat | Mode::Nat6);
        let (forward, reverse, both) = match mode {
            Mode::Nat => ("NAT forward", "NAT reverse", "NAT both ways in turn"),
            Mode::Nat6 => ("NAT forward, IPv6", "NAT reverse, IPv6", "NAT both ways in turn, IPv6"),
            _ => (path, path, path),
        };
        let (growth, verdict) = (mode.growth(), TX);
        let (request, reply, syn) = (mode.request(1, ACK), mode.reply(ACK), mode.first());
        let route = Route::scattered(flows);
        let known =
            Case { path: forward, packet: "known", flows, frames: &[&request], route, growth, verdict };
        self.case(fixture, &known)?;
        if nat {
            // By itself as well, as if traffic went one way only; and then both.
            fixture.end_leases()?;
            self.case(fixture, &Case { path: reverse, frames: &[&reply], ..known })?;
            self.case(fixture, &Case { path: both, frames: &[&request, &reply], ..known })?;
        }
        let route = Route::in_order(FRESH, 1 << 30);
        self.case(fixture, &Case { path, packet: "new", frames: &[&syn], route, ..known })?;
        if matches!(mode, Mode::Dr | Mode::Nat) {
            self.foreign(path, fixture, flows)?;
        }
        Ok(())
    }

    /// What is not for a virtual service, with and without NAT's replies to look for.
    fn foreign(&mut self, path: &'static str, fixture: &Fixture, flows: u32) -> Result<()> {
        let stranger = std::net::Ipv4Addr::new(10, 77, 0, 1).into();
        let tcp = Template::tcp(crate::frames::Way::FromClient, stranger, 1, 80, ACK);
        let arp = Template::arp();
        let route = Route::scattered(flows);
        let of = |frames, packet| Case {
            path: if path == "NAT" { "none of ours, NAT in use" } else { "none of ours" },
            packet,
            flows,
            frames,
            route,
            growth: None,
            verdict: PASS,
        };
        let (tcp, arp) = ([&tcp], [&arp]);
        self.case(fixture, &of(&tcp, "foreign"))?;
        if path == "DR" { self.case(fixture, &of(&arp, "not IP")) } else { Ok(()) }
    }

    /// A connection that begins, by scheduler, and in a flood.
    fn schedulers(&mut self) -> Result<()> {
        let hows = [
            ("rr", scheduler::RR),
            ("wrr", scheduler::WRR),
            ("wlc", scheduler::WLC),
            ("sh", scheduler::SH),
            ("maglev", scheduler::MAGLEV),
        ];
        for (name, how) in hows {
            for servers in [10, SERVERS] {
                let mode = Mode::Dr;
                let fixture =
                    Fixture::with(mode, &desired(mode, 1, servers, how), servers, self.effort.table())?;
                self.walker.measure(&fixture::program()?.fd)?;
                let template = mode.request(1, SYN);
                let packet = if servers == SERVERS { "new, 64 servers" } else { "new, 10 servers" };
                let route = Route::in_order(FRESH, 1 << 30);
                let case = Case {
                    path: name,
                    packet,
                    flows: 0,
                    frames: &[&template],
                    route,
                    growth: None,
                    verdict: TX,
                };
                self.case(&fixture, &case)?;
                if how == scheduler::MAGLEV && servers == SERVERS {
                    allow_flood(0)?;
                    self.case(&fixture, &Case { packet: "new, in a flood", ..case })?;
                }
                fixture.remove()?;
            }
        }
        Ok(())
    }

    /// Measures one case in rounds, the bare program in turn with the packet path.
    fn case(&mut self, fixture: &Fixture, case: &Case<'_>) -> Result<()> {
        self.check(case)?;
        let fresh = case.packet.starts_with("new");
        let each = case.frames.len() as u32;
        let runs = self.effort.runs(if fresh { 1 } else { case.route.count * each });
        let (mut gross, mut walking, mut net) = (Vec::new(), Vec::new(), Vec::new());
        let mut route = case.route;
        for _ in 0..self.effort.rounds() {
            let bare = self.walker.run(Target::Bare, case.frames, route, runs)?.ns;
            let walked = match case.growth {
                // The frame is made longer by the program and shorter by the walk, one helper call each.
                Some(bytes) => {
                    (bare + self.walker.run(Target::Grow(bytes), case.frames, route, runs)?.ns) / 2.0
                }
                None => bare,
            };
            let before = fixture.totals()?;
            let done = self.walker.run(Target::Keel, case.frames, route, runs)?;
            let after = fixture.totals()?;
            let seen = if case.verdict == PASS {
                after.passed - before.passed
            } else {
                after.forwarded - before.forwarded
            };
            ensure!(seen == u64::from(runs), "{}, {}: {seen} of {runs} frames", case.path, case.packet);
            gross.push(done.ns);
            walking.push(walked);
            net.push(done.ns - walked);
            // Flows that began are known now: on to others.
            route.start += if fresh { runs } else { 0 };
        }
        let cell = Cell {
            path: case.path,
            packet: case.packet,
            flows: case.flows,
            table: self.table,
            gross_ns: median(&gross),
            walking_ns: median(&walking),
            net_ns: median(&net),
            least_ns: net.iter().copied().fold(f64::INFINITY, f64::min),
            most_ns: net.iter().copied().fold(0.0, f64::max),
        };
        eprintln!("{:26} {:16} {:>9} flows {:7.1} ns", cell.path, cell.packet, cell.flows, cell.net_ns);
        self.section.cells.push(cell);
        Ok(())
    }

    /// That the walk restores what the packet path changes: a flow's frame comes out the same after one run and after many.
    fn check(&mut self, case: &Case<'_>) -> Result<()> {
        let one = Route { start: case.route.start, count: case.route.start + 1, stride: 0, block: 1 };
        let once = self.walker.run(Target::Keel, case.frames, one, 1)?;
        let often = self.walker.run(Target::Keel, case.frames, one, 1001)?;
        ensure!(once.verdict == case.verdict, "{}: the verdict is {}", case.path, once.verdict);
        ensure!(once.frame == often.frame, "{}: the walk doesn't restore the frame", case.path);
        let grown = case.frames[0].bytes.len() + case.growth.unwrap_or(0) as usize;
        ensure!(once.frame.len() == grown, "{}: {} bytes came out", case.path, once.frame.len());
        Ok(())
    }
}

/// The middle of the samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}
