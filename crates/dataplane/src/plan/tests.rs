//! Laws of planning.
use std::net::Ipv4Addr;

use keel_abi::{MODE_DR, MODE_TUN, policy, scheduler};
use proptest::prelude::*;

use super::*;

/// What the maps hold after an operation, without a kernel. `run.rs` does the same to the kernel's maps and its shadow.
fn perform(shadow: &mut Shadow, op: &Op) {
    match op {
        Op::AddPath(addr, path) => drop(shadow.paths.insert(*addr, *path)),
        Op::Server(id, server) => drop(shadow.servers.insert(*id, *server)),
        Op::Nat(on) => shadow.nat = *on,
        Op::AddNatServer(key, value) => drop(shadow.nat_servers.insert(*key, *value)),
        Op::Table(slot, spec) => drop(shadow.tables.insert(*slot, Some(spec.clone()))),
        Op::AddService(key, slot) => drop(shadow.services.insert(*key, *slot)),
        Op::Address(addr, sizes) => drop(shadow.addresses.insert(*addr, *sizes)),
        Op::DropService(key) => drop(shadow.services.remove(key).unwrap()),
        Op::DropAddress(addr) => drop(shadow.addresses.remove(addr).unwrap()),
        Op::DropTable(slot) => drop(shadow.tables.remove(slot).unwrap()),
        Op::DropNatServer(key) => drop(shadow.nat_servers.remove(key).unwrap()),
        Op::DropPath(addr, path) => assert_eq!(shadow.paths.remove(addr), Some(*path)),
    }
}

/// A packet that follows any lead in the maps ends at a server that can be reached.
fn consistent(shadow: &Shadow) {
    for (key, slot) in &shadow.services {
        assert!(shadow.tables.contains_key(slot), "{key:?} leads to a slot without a table");
    }
    let reachable: HashSet<Slot> = shadow.services.values().copied().collect();
    for (slot, spec) in shadow.tables.iter().filter(|(slot, _)| reachable.contains(slot)) {
        for (_, member) in &spec.as_ref().unwrap().members {
            let server = shadow.servers.get(&member.server).expect("a member leads to a free server");
            assert_eq!(server.service, *slot, "a member leads to another service's server");
            assert_ne!(server.state, state::REMOVED, "a member leads to a removed server");
        }
    }
    for (id, server) in &shadow.servers {
        assert_eq!(shadow.paths.get(&server.addr), Some(&server.path), "server {id} has no path");
    }
    let mut paths: Vec<PathId> = shadow.paths.values().copied().collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), shadow.paths.len(), "two addresses share a path");
    for value in shadow.nat_servers.values() {
        let known = value.ambiguous != 0 || shadow.servers.contains_key(&value.server);
        assert!(known, "a reply leads to a free server");
        assert!(shadow.nat, "replies aren't looked for");
    }
}

/// Every lookup that the configuration promises succeeds.
fn complete(shadow: &Shadow, desired: &Desired) {
    for service in &desired.services {
        for key in &service.keys {
            let slot = shadow.services[key];
            assert_ne!(shadow.addresses[&key.addr] & 1 << key.shift, 0, "{key:?} is not looked for");
            let members = &shadow.tables[&slot].as_ref().unwrap().members;
            assert_eq!(members.len(), service.servers.iter().filter(|s| s.member).count());
        }
    }
    let live = shadow.servers.values().filter(|s| s.state != state::REMOVED).count();
    assert_eq!(live, desired.services.iter().map(|s| s.servers.len()).sum::<usize>());
    assert_eq!(shadow.services.len(), desired.services.iter().map(|s| s.keys.len()).sum::<usize>());
}

/// Applies and returns the operations, checking every prefix.
fn apply(shadow: &mut Shadow, desired: &Desired) -> Vec<Op> {
    let ops = plan(shadow, desired).unwrap();
    for op in &ops {
        perform(shadow, op);
        consistent(shadow);
    }
    complete(shadow, desired);
    ops
}

fn server(address: u32, port: u16, mode: u8, member: bool) -> DesiredServer {
    DesiredServer {
        name: format!("s{address}"),
        addr: std::net::IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + address)).into(),
        port_be: if mode == MODE_NAT { port.to_be() } else { 0 },
        mode,
        state: if member { state::ONLINE } else { state::DRAIN },
        policy: policy::RESCHEDULE,
        timeouts: [60, 900, 120, 10, 300],
        member,
        weight: 100,
        max_connections: 0,
        readmit_connections: 0,
    }
}

fn service(vip: u32, first: u16, last: u16, servers: Vec<DesiredServer>) -> DesiredService {
    let addr = Addr::from(std::net::IpAddr::V4(Ipv4Addr::from(0xc0a8_0000 + vip)));
    let keys = keel_abi::blocks(first, last)
        .map(|b| PortKey { addr, block: b.block, proto: 6, shift: b.shift })
        .collect();
    DesiredService {
        name: format!("{vip}:{first}"),
        keys,
        scheduler: scheduler::WLC,
        flags: 0,
        persist_ns: 0,
        prefix4: 32,
        prefix6: 128,
        servers,
    }
}

fn some_service(vip: u32) -> impl Strategy<Value = DesiredService> {
    let servers = prop::collection::btree_map(1u32..9, (any::<bool>(), 0usize..3), 0..6);
    (0u16..3, 0u16..20, servers, 0u32..9, any::<bool>()).prop_map(
        move |(first, more, servers, how, one_mode)| {
            let first = 80 + first * 100;
            let servers = servers
                .into_iter()
                .map(|(address, (member, mode))| {
                    let mode = if one_mode { 0 } else { mode };
                    server(address, 8000, [MODE_DR, MODE_NAT, MODE_TUN][mode], member)
                })
                .collect();
            DesiredService { scheduler: how, ..service(vip, first, first + more, servers) }
        },
    )
}

fn some_desired() -> impl Strategy<Value = Desired> {
    let one = |vip| prop::option::of(some_service(vip));
    (one(1), one(2), one(3), one(4))
        .prop_map(|(a, b, c, d)| Desired { services: [a, b, c, d].into_iter().flatten().collect() })
}

/// Removed servers without connections give their slots back, as a sweep does it.
fn release(shadow: &mut Shadow) {
    let gone: Vec<_> = shadow
        .servers
        .iter()
        .filter(|(_, s)| s.state == state::REMOVED)
        .map(|(id, s)| (*id, s.generation))
        .collect();
    for (id, generation) in gone {
        shadow.servers.remove(&id);
        shadow.generations.insert(id, generation + 1);
    }
}

proptest! {
    #[test]
    fn every_prefix_is_a_working_dataplane(steps in prop::collection::vec((some_desired(), any::<bool>()), 1..8)) {
        let mut shadow = Shadow::default();
        for (desired, sweep) in steps {
            apply(&mut shadow, &desired);
            prop_assert_eq!(plan(&shadow, &desired).unwrap(), [], "nothing left to do");
            if sweep {
                release(&mut shadow);
                consistent(&shadow);
            }
        }
    }

    #[test]
    fn the_order_in_the_file_does_not_matter(desired in some_desired(), turn in 0usize..4) {
        let mut shadow = Shadow::default();
        apply(&mut shadow, &desired);
        let mut turned = desired;
        let count = turned.services.len().max(1);
        turned.services.rotate_left(turn % count);
        let ops = plan(&shadow, &turned).unwrap();
        prop_assert_eq!(ops, []);
        for service in &mut turned.services {
            service.servers.reverse();
        }
        let ops = plan(&shadow, &turned).unwrap();
        prop_assert!(ops.iter().all(|op| matches!(op, Op::Table(..))), "only the order of members changes: {ops:?}");
    }

    #[test]
    fn a_generation_is_never_used_twice(steps in prop::collection::vec(some_desired(), 1..8)) {
        let mut shadow = Shadow::default();
        let mut seen: HashMap<(ServerId, u32), Identity> = HashMap::new();
        for desired in steps {
            apply(&mut shadow, &desired);
            for (id, server) in &shadow.servers {
                let known = *seen.entry((*id, server.generation)).or_insert_with(|| identity(server));
                prop_assert_eq!(known, identity(server));
            }
            release(&mut shadow);
        }
    }
}

/// A service by its name, its ports one by one: those that are given.
fn at_ports(name: &str, ports: &[u16], servers: &[u32]) -> DesiredService {
    let keys = ports.iter().flat_map(|port| service(1, *port, *port, Vec::new()).keys).collect();
    let servers = servers.iter().map(|address| server(*address, 0, MODE_DR, true)).collect();
    DesiredService { name: name.to_owned(), keys, ..service(1, 1, 1, servers) }
}

/// Id and generation of every live server, by its service's name.
fn identities(shadow: &Shadow, desired: &Desired) -> BTreeMap<(String, Addr), (ServerId, u32)> {
    let mut all = BTreeMap::new();
    for service in &desired.services {
        let slot = shadow.services[&service.keys[0]];
        for server in &service.servers {
            let id = shadow.server_of(slot, server.addr, server.port_be).unwrap();
            all.insert((service.name.clone(), server.addr), (id, shadow.servers[&id].generation));
        }
    }
    all
}

/// Who owns each port, each service's servers, which services there are, and their order in the file.
type Step = (Vec<Option<usize>>, Vec<BTreeSet<u32>>, Vec<bool>, [&'static str; 4]);

/// Ports go from service to service, but each keeps one that is always its own; servers come and go.
fn moving_ports(own_servers: bool) -> impl Strategy<Value = Vec<Desired>> {
    let names = ["a", "b", "c", "d"];
    let step = (
        prop::collection::vec(prop::option::of(0usize..4), 12),
        prop::collection::vec(prop::collection::btree_set(1u32..6, 0..5), 4),
        prop::collection::vec(prop::bool::weighted(0.8), 4),
        Just(names).prop_shuffle(),
    );
    prop::collection::vec(step, 2..8).prop_map(move |steps| {
        let desired = |(owners, servers, there, order): Step| {
            let service = |(place, name): (usize, &str)| {
                let n = names.iter().position(|other| *other == name).unwrap();
                // Its own one first or last, so that a port that moved may be the first that is looked at.
                let mut ports: Vec<u16> =
                    (0..12u16).filter(|p| owners[usize::from(*p)] == Some(n)).map(|p| 100 + p).collect();
                ports.insert(if place % 2 == 0 { 0 } else { ports.len() }, 50 + n as u16);
                let base = if own_servers { 10 * n as u32 } else { 0 };
                let mut servers: Vec<u32> = servers[n].iter().map(|s| base + s).collect();
                // Somebody who is always there.
                servers.push(base + 9);
                at_ports(name, &ports, &servers)
            };
            let here = |name: &&str| there[names.iter().position(|other| other == name).unwrap()];
            let services = order.into_iter().filter(here).enumerate().map(service).collect();
            Desired { services }
        };
        steps.into_iter().map(desired).collect()
    })
}

proptest! {
    #[test]
    fn a_server_keeps_id_and_generation_as_long_as_it_exists(steps in moving_ports(true)) {
        let mut shadow = Shadow::default();
        let mut before = BTreeMap::new();
        for desired in steps {
            apply(&mut shadow, &desired);
            let now = identities(&shadow, &desired);
            for (server, identity) in &now {
                if let Some(former) = before.get(server) {
                    prop_assert_eq!(former, identity, "{:?} is another one now", server);
                }
            }
            release(&mut shadow);
            before = now;
        }
    }

    /// With the same servers behind several services it may be open who is who; but never do more servers go than must.
    #[test]
    fn no_assignment_of_slots_keeps_more_servers(steps in moving_ports(false)) {
        let mut shadow = Shadow::default();
        for desired in steps {
            let former = shadow.clone();
            apply(&mut shadow, &desired);
            let kept = former.servers.keys().filter(|id| shadow.servers[id].state != state::REMOVED).count();
            prop_assert_eq!(kept, most_kept(&former, &desired.services, &mut HashSet::new()));
            release(&mut shadow);
        }
    }
}

/// Tries all assignments.
fn most_kept(shadow: &Shadow, services: &[DesiredService], taken: &mut HashSet<Slot>) -> usize {
    let Some((service, rest)) = services.split_first() else { return 0 };
    let mut most = most_kept(shadow, rest, taken);
    let slots: BTreeSet<Slot> = service.keys.iter().filter_map(|key| shadow.slot_of(key)).collect();
    for slot in slots {
        if taken.insert(slot) {
            let same = |s: &&DesiredServer| shadow.server_of(slot, s.addr, s.port_be).is_some();
            let kept = service.servers.iter().filter(same).count();
            most = most.max(kept + most_kept(shadow, rest, taken));
            taken.remove(&slot);
        }
    }
    most
}

#[test]
fn a_range_that_grows_or_shrinks_is_the_same_service() {
    let mut shadow = Shadow::default();
    let at = |first, last| Desired {
        services: vec![service(
            1,
            first,
            last,
            vec![server(1, 0, MODE_DR, true), server(2, 0, MODE_DR, true)],
        )],
    };
    apply(&mut shadow, &at(80, 80));
    let before = identities(&shadow, &at(80, 80));
    for (first, last) in [(80, 81), (80, 95), (84, 87), (1, 65_535), (86, 86), (64, 127)] {
        apply(&mut shadow, &at(first, last));
        let now: Vec<_> = identities(&shadow, &at(first, last)).into_values().collect();
        assert!(now.iter().eq(before.values()), "{first}-{last}: {now:?}");
    }
}

fn thousand() -> Desired {
    let services = (0..1000)
        .map(|s| service(s, 80, 80, (0..10).map(|i| server(s * 10 + i, 80, MODE_DR, true)).collect()));
    Desired { services: services.collect() }
}

#[test]
fn a_change_to_one_of_a_thousand_services_touches_that_service_only() {
    let mut shadow = Shadow::default();
    let mut desired = thousand();
    apply_quickly(&mut shadow, &desired);
    let slot = shadow.services[&desired.services[500].keys[0]];

    desired.services[500].servers[3].weight = 50;
    let ops = plan(&shadow, &desired).unwrap();
    assert!(matches!(ops[..], [Op::Table(s, _)] if s == slot), "{ops:?}");
    apply_quickly(&mut shadow, &desired);

    desired.services[500].servers[3].state = state::HALT;
    desired.services[500].servers[3].member = false;
    let ops = plan(&shadow, &desired).unwrap();
    assert!(
        matches!(ops[..], [Op::Server(_, s), Op::Table(t, _)] if s.service == slot && t == slot),
        "{ops:?}"
    );
    apply_quickly(&mut shadow, &desired);

    desired.services[500].servers.remove(3);
    let ops = plan(&shadow, &desired).unwrap();
    assert!(matches!(ops[..], [Op::Server(_, s)] if s.state == state::REMOVED), "{ops:?}");
    apply_quickly(&mut shadow, &desired);

    desired.services[500].servers.push(server(20_000, 80, MODE_DR, true));
    let ops = plan(&shadow, &desired).unwrap();
    assert!(matches!(ops[..], [Op::AddPath(..), Op::Server(..), Op::Table(t, _)] if t == slot), "{ops:?}");
    apply_quickly(&mut shadow, &desired);

    let gone = desired.services.remove(500);
    let ops = plan(&shadow, &desired).unwrap();
    let servers = ops.iter().filter(|op| matches!(op, Op::Server(_, s) if s.state == state::REMOVED)).count();
    assert_eq!((servers, ops.len()), (gone.servers.len(), gone.servers.len() + 3), "{ops:?}");
}

fn apply_quickly(shadow: &mut Shadow, desired: &Desired) {
    for op in plan(shadow, desired).unwrap() {
        perform(shadow, &op);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_write() {
    let full = |desired: Desired| match plan(&Shadow::default(), &desired) {
        Err(DataplaneError::Full { what, .. }) => what,
        other => panic!("{:?}", other.map(|ops| ops.len())),
    };
    let services = (0..16_385).map(|s| service(s, 80, 80, Vec::new())).collect();
    assert_eq!(full(Desired { services }), "services");
    let servers = (0..16_385).map(|i| server(i, 80, MODE_DR, true)).collect();
    assert_eq!(full(Desired { services: vec![service(1, 80, 80, servers)] }), "different server addresses");
    let services =
        (0..16).map(|s| service(s, 80, 80, (0..4100).map(|i| server(i, 80, MODE_DR, true)).collect()));
    assert_eq!(full(Desired { services: services.collect() }), "servers");
    let services = (0..5000).map(|s| service(s, 1, 65_534, Vec::new())).collect();
    assert_eq!(full(Desired { services }), "port ranges");
    let services = (0..1100).map(|s| service(s, 80, 140, vec![server(s, 0, MODE_NAT, true)]));
    assert_eq!(full(Desired { services: services.collect() }), "ports of NAT servers");
}

#[test]
fn an_end_of_several_services_or_ports_is_ambiguous() {
    let mut shadow = Shadow::default();
    let nat = |vip, first, last| service(vip, first, last, vec![server(7, 8080, MODE_NAT, true)]);
    apply(&mut shadow, &Desired { services: vec![nat(1, 80, 80)] });
    assert!(shadow.nat_servers.values().all(|end| end.ambiguous == 0 && end.vport_be == 80u16.to_be()));
    apply(&mut shadow, &Desired { services: vec![nat(1, 80, 80), nat(2, 80, 80)] });
    assert!(shadow.nat_servers.values().all(|end| end.ambiguous == 1));
    apply(&mut shadow, &Desired { services: vec![nat(1, 80, 81)] });
    assert!(shadow.nat_servers.values().all(|end| end.ambiguous == 1));
    apply(&mut shadow, &Desired::default());
    assert!(shadow.nat_servers.is_empty());
}
