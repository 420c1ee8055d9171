//! The packet path on several CPUs at once, for the same flows: whatever the order of what they read and write, a flow has
//! one server, is counted once, and no count is left over when it is gone.
//!
//! Every flow is tried with all CPUs released at the same moment. That a race is hit is likely in thousands of flows, not
//! certain; what a failing run shows is real.
#![expect(clippy::unwrap_used, reason = "a bench that does not come up fails the test")]

mod support;
use std::{
    sync::{
        Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use keel_abi::{Connection, FlowKey, PersistKey, PersistValue, TcpState, connection_flags as flags};
use keel_dataplane::{Dataplane, FrameVerdict, Sizes};
use support::{
    BACK_MAC, CLIENT_MAC, Rig, key, now_ns,
    packet::{ACK, FIN, PSH, Pkt, SYN, ip},
    server_mac, stay_on_cpu,
};

/// Flows in a round.
const FLOWS: usize = 1500;

/// Looks at the others before the CPU goes to somebody else who may need it more.
const PATIENCE: u32 = 10_000;

/// One test at a time: two that wait for each other's CPUs never meet at the same moment.
static ALONE: Mutex<()> = Mutex::new(());

const VIP: &str = "192.168.2.200:80";

fn cluster(keys: &str) -> String {
    let mut text = format!(
        "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\nprotocol = \"tcp+udp\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n"
    );
    for server in 101..105 {
        text += &format!("[[service.server]]\nname = \"s{server}\"\naddress = \"192.168.2.{server}\"\n");
    }
    text
}

fn client(n: usize) -> String {
    format!("10.{}.{}.1:1000", n / 200, n % 200)
}

/// One frame of one flow on one CPU, and by which interface it comes in.
struct Step {
    frame: Vec<u8>,
    ifindex: u32,
}

/// What became of a frame: the last byte of the Ethernet address that it left for.
type Went = Option<u8>;

/// Processes, one for each CPU, with programs of their own on the same maps.
struct Cpus {
    others: Vec<Mutex<Dataplane>>,
}

impl Cpus {
    fn new(rig: &Rig) -> Self {
        let count = std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 4);
        // The test's own thread is bound to the first CPU.
        Self { others: (1..count.max(2)).map(|_| Mutex::new(rig.another())).collect() }
    }

    /// For each flow: `step(cpu, flow)` on all CPUs at once. Returns what went where, by flow and CPU.
    fn race(&self, rig: &Rig, flows: usize, step: impl Fn(usize, usize) -> Step + Sync) -> Vec<Vec<Went>> {
        let all = self.others.len() + 1;
        let (start, turn) = (Barrier::new(all), AtomicUsize::new(0));
        let run = |cpu: usize, dataplane: &Dataplane| -> Vec<Went> {
            let steps: Vec<Step> = (0..flows).map(|flow| step(cpu, flow)).collect();
            start.wait();
            let one = |(flow, step): (usize, Step)| {
                turn.fetch_add(1, Ordering::SeqCst);
                let mut turns = 0;
                while turn.load(Ordering::SeqCst) < (flow + 1) * all {
                    std::hint::spin_loop();
                    turns += 1;
                    if turns % PATIENCE == 0 {
                        std::thread::yield_now();
                    }
                }
                let run = dataplane.run_frame(&step.frame, step.ifindex).unwrap();
                assert_ne!(run.verdict, FrameVerdict::Aborted);
                (run.verdict == FrameVerdict::Redirect).then(|| run.frame[5])
            };
            steps.into_iter().enumerate().map(one).collect()
        };
        let by_cpu: Vec<Vec<Went>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..)
                .zip(&self.others)
                .map(|(cpu, dataplane)| {
                    let run = &run;
                    scope.spawn(move || {
                        stay_on_cpu(cpu);
                        run(cpu, &dataplane.lock().unwrap())
                    })
                })
                .collect();
            let first = run(0, &rig.dataplane);
            std::iter::once(first).chain(others.into_iter().map(|other| other.join().unwrap())).collect()
        });
        (0..flows).map(|flow| by_cpu.iter().map(|cpu| cpu[flow]).collect()).collect()
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rig(keys: &str) -> (Rig, Cpus) {
    let sizes = Sizes { connections: 65_536, half_open: 131_072, persistence: 65_536, fragments: 1024 };
    let mut rig = Rig::sized(sizes);
    rig.apply(&cluster(keys));
    let cpus = Cpus::new(&rig);
    (rig, cpus)
}

fn from_client(rig: &Rig, packet: &Pkt) -> Step {
    Step { frame: packet.build(), ifindex: rig.front }
}

fn from_server(rig: &Rig, server: u8, flow: usize, tcp_flags: u8) -> Step {
    let address = format!("192.168.2.{server}");
    let packet =
        Pkt::tcp(&format!("{address}:80"), &client(flow), tcp_flags).mac(server_mac(ip(&address)), BACK_MAC);
    Step { frame: packet.build(), ifindex: rig.back }
}

/// The server that all of a flow's frames went to.
#[track_caller]
fn one_server(went: &[Vec<Went>]) -> Vec<u8> {
    let split: Vec<_> =
        went.iter().enumerate().filter(|(_, went)| went.iter().any(|w| *w != went[0])).collect();
    assert!(
        split.is_empty(),
        "{} of {} flows have two servers: {:?}",
        split.len(),
        went.len(),
        split.first()
    );
    went.iter().map(|went| went[0].expect("dropped")).collect()
}

/// The counts of all servers together, which must be what the tables hold: (pending, active, inactive).
#[track_caller]
fn counted(rig: &Rig) -> (i64, i64, i64) {
    let mut found = std::collections::BTreeMap::<u32, (i64, i64, i64)>::new();
    for table in ["HALF_OPEN", "CONNECTIONS"] {
        for entry in rig.pinned::<FlowKey, Connection>(table).iter() {
            let entry = entry.unwrap().1;
            if entry.flags & flags::REVERSE != 0 {
                continue;
            }
            let counts = found.entry(entry.server).or_default();
            match (table, TcpState::from_u8(entry.state).is_active()) {
                ("HALF_OPEN", _) => counts.0 += 1,
                (_, true) => counts.1 += 1,
                (_, false) => counts.2 += 1,
            }
        }
    }
    let servers = rig.servers();
    let wrong: Vec<_> = servers
        .iter()
        .map(|(id, _)| (*id, rig.counts_of(*id), found.get(id).copied().unwrap_or_default()))
        .filter(|(_, counted, found)| counted != found)
        .collect();
    assert!(wrong.is_empty(), "server, counted, found: {wrong:?}");
    found.values().fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
}

/// When all connections have run out, nothing is left, neither of them nor in the counts.
#[track_caller]
fn nothing_is_left(rig: &mut Rig) {
    for table in ["CONNECTIONS", "HALF_OPEN"] {
        rig.age(table, Duration::from_secs(4000));
    }
    rig.dataplane.sweep(now_ns()).unwrap();
    assert_eq!(counted(rig), (0, 0, 0));
    assert_eq!(rig.entries("CONNECTIONS"), 0);
}

const MODES: [&str; 2] = ["mode = \"dr\"\nscheduler = \"rr\"", "mode = \"nat\"\nscheduler = \"rr\""];

fn open(rig: &Rig, then: &[u8]) -> Vec<u8> {
    let one = |flow| {
        let server = rig.went_to(&Pkt::tcp(&client(flow), VIP, SYN));
        for tcp_flags in then {
            rig.client_sends(&Pkt::tcp(&client(flow), VIP, *tcp_flags));
        }
        server
    };
    (0..FLOWS).map(one).collect()
}

#[test]
fn first_packets_on_all_cpus_are_one_connection() {
    let _alone = alone();
    for mode in MODES {
        for udp in [false, true] {
            let (mut rig, cpus) = rig(mode);
            let first = |flow: usize| {
                if udp { Pkt::udp(&client(flow), VIP) } else { Pkt::tcp(&client(flow), VIP, SYN) }
            };
            let servers = one_server(&cpus.race(&rig, FLOWS, |_, flow| from_client(&rig, &first(flow))));
            let (pending, active, _) = counted(&rig);
            assert_eq!(pending + active, FLOWS as i64);
            for (flow, server) in servers.iter().enumerate() {
                assert_eq!(rig.went_to(&first(flow).flags(ACK)), *server);
            }
            assert_eq!(counted(&rig), (0, FLOWS as i64, 0));
            nothing_is_left(&mut rig);
        }
    }
}

#[test]
fn packets_that_prove_a_connection_on_all_cpus_count_it_once() {
    let _alone = alone();
    for mode in MODES {
        let (mut rig, cpus) = rig(mode);
        let servers = open(&rig, &[]);
        let went = cpus.race(&rig, FLOWS, |_, flow| from_client(&rig, &Pkt::tcp(&client(flow), VIP, ACK)));
        assert_eq!(one_server(&went), servers);
        assert_eq!(counted(&rig), (0, FLOWS as i64, 0));
        nothing_is_left(&mut rig);
    }
}

#[test]
fn an_answer_arrives_while_its_connection_is_proved() {
    let _alone = alone();
    let (mut rig, cpus) = rig(MODES[1]);
    let servers = open(&rig, &[]);
    let went = cpus.race(&rig, FLOWS, |cpu, flow| match cpu {
        0 => from_client(&rig, &Pkt::tcp(&client(flow), VIP, PSH | ACK)),
        _ => from_server(&rig, servers[flow], flow, PSH | ACK),
    });
    for (flow, went) in went.iter().enumerate() {
        assert_eq!(went[0], Some(servers[flow]));
        assert!(went[1..].iter().all(|answer| *answer == Some(CLIENT_MAC[5])), "flow {flow}: {went:?}");
    }
    assert_eq!(counted(&rig), (0, FLOWS as i64, 0));
    nothing_is_left(&mut rig);
}

#[test]
fn a_port_used_again_on_all_cpus_begins_one_connection() {
    let _alone = alone();
    for mode in MODES {
        let (mut rig, cpus) = rig(mode);
        open(&rig, &[ACK, FIN | ACK]);
        assert_eq!(counted(&rig), (0, 0, FLOWS as i64));
        let syn = |_, flow: usize| from_client(&rig, &Pkt::tcp(&client(flow), VIP, SYN));
        let servers = one_server(&cpus.race(&rig, FLOWS, syn));
        assert_eq!(counted(&rig), (FLOWS as i64, 0, 0));
        for (flow, server) in servers.iter().enumerate() {
            assert_eq!(rig.went_to(&Pkt::tcp(&client(flow), VIP, ACK)), *server);
        }
        assert_eq!(counted(&rig), (0, FLOWS as i64, 0));
        nothing_is_left(&mut rig);
    }
}

#[test]
fn ends_from_both_sides_at_once_are_counted_once() {
    let _alone = alone();
    let (mut rig, cpus) = rig(MODES[1]);
    let servers = open(&rig, &[ACK]);
    cpus.race(&rig, FLOWS, |cpu, flow| match cpu {
        0 => from_client(&rig, &Pkt::tcp(&client(flow), VIP, FIN | ACK)),
        _ => from_server(&rig, servers[flow], flow, FIN | ACK),
    });
    assert_eq!(counted(&rig), (0, 0, FLOWS as i64));
    let done = |flow| {
        let entry = rig.connection(&key(&client(flow), VIP, 6)).unwrap();
        TcpState::from_u8(entry.state) == TcpState::TimeWait
    };
    let half_closed: Vec<usize> = (0..FLOWS).filter(|flow| !done(*flow)).collect();
    assert!(half_closed.is_empty(), "{} connections miss a FIN", half_closed.len());
    nothing_is_left(&mut rig);
}

#[test]
fn a_persistent_client_has_one_server_however_its_first_connections_come() {
    let _alone = alone();
    for mode in MODES {
        let (mut rig, cpus) = rig(&format!("{mode}\npersistence = \"source\""));
        let of = |cpu: usize, flow: usize| client(flow).replace(":1000", &format!(":{}", 1000 + cpu));
        let syn = |cpu, flow| from_client(&rig, &Pkt::tcp(&of(cpu, flow), VIP, SYN));
        let servers = one_server(&cpus.race(&rig, FLOWS, syn));
        let ack = |cpu, flow| from_client(&rig, &Pkt::tcp(&of(cpu, flow), VIP, ACK));
        assert_eq!(one_server(&cpus.race(&rig, FLOWS, ack)), servers);
        counted(&rig);
        for (flow, server) in servers.iter().enumerate() {
            assert_eq!(rig.went_to(&Pkt::tcp(&of(99, flow), VIP, SYN)), *server, "it sticks");
        }
        assert_eq!(rig.pinned::<PersistKey, PersistValue>("PERSISTENCE").keys().count(), FLOWS);
        nothing_is_left(&mut rig);
    }
}
