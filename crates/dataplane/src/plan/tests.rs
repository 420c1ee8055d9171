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
