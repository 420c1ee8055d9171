//! Which server a connection keeps, and what is counted of it.
mod support;
use keel_abi::{Choice, Connection, DropReason, FlowKey, TcpState, connection_flags as flags};
use keel_dataplane::{Explanation, FrameVerdict, Question, Sizes};
use support::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, Rig, eventually, key, now_ns,
    packet::{ACK, FIN, PSH, Pkt, RST, SYN, checksums_hold, ip},
    server_mac,
    service::{VIP, client, cluster, syn},
};

const S1: &str = "192.168.2.101";
const S2: &str = "192.168.2.102";

#[test]
fn counts_follow_a_connection_through_its_life() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &[""]));
    let (c, k) = (client(1), key(&client(1), VIP, 6));
    let send = |flags: u8| assert_eq!(rig.went_to(&Pkt::tcp(&c, VIP, flags)), 101);
    send(SYN);
    assert_eq!(rig.counts(S1), (1, 0, 0));
    send(SYN);
    assert_eq!(rig.counts(S1), (1, 0, 0), "the same SYN again");
    assert_eq!(rig.half_open(&k).unwrap().state, TcpState::SynRecv as u8);
    send(ACK);
    assert_eq!(rig.counts(S1), (0, 1, 0));
    assert_eq!((rig.half_open(&k), rig.connection(&k).unwrap().state), (None, TcpState::Established as u8));
    send(PSH | ACK);
    send(SYN);
    assert_eq!(rig.counts(S1), (0, 1, 0), "a SYN in the middle is the server's affair");
    send(FIN | ACK);
    assert_eq!(rig.counts(S1), (0, 0, 1));
    assert_eq!(rig.connection(&k).unwrap().state, TcpState::FinWait as u8);
    send(ACK);
    assert_eq!(rig.counts(S1), (0, 0, 1));
    send(SYN);
    assert_eq!(rig.counts(S1), (1, 0, 0), "the client begins a new connection");
    send(ACK);
    send(RST);
    assert_eq!(rig.counts(S1), (0, 0, 1));
    assert_eq!(rig.connection(&k).unwrap().state, TcpState::Close as u8);
    let counters = rig.dataplane.server_counters(rig.id(S1)).unwrap();
    assert_eq!((counters.connections, counters.packets_in, counters.bytes_in), (2, 10, 10 * 40 + 17));
    assert_eq!(rig.dataplane.totals().unwrap().forwarded, 10);
}

#[test]
fn a_reading_of_all_servers_is_what_each_one_says() {
    use std::fmt::Write as _;
    const MANY: u32 = 5000;
    let mut text = cluster("mode = \"nat\"\nscheduler = \"rr\"", &[]);
    for n in 0..MANY {
        let _ = writeln!(
            text,
            "[[service.server]]\nname = \"r{n}\"\naddress = \"10.9.{}.{}\"",
            n / 250,
            1 + n % 250
        );
    }
    let rig = Rig::new(&text);
    for n in 0..2 * MANY {
        rig.client_sends(&syn(n));
    }
    let readings = rig.dataplane.readings().unwrap();
    assert_eq!(readings.len(), MANY as usize);
    for (id, reading) in &readings {
        assert_eq!(reading.counters, rig.dataplane.server_counters(*id).unwrap());
        assert_eq!(reading.load, rig.dataplane.load(*id).unwrap());
    }
    let most = readings.values().map(|reading| reading.load.pending).max();
    assert_eq!(most, Some(rig.dataplane.most_pending().unwrap()));
    assert!(most > Some(1));
    // Those that a second call of the kernel reads among them.
    let (few, more): (Vec<_>, Vec<_>) = readings.iter().partition(|(id, _)| **id < 4096);
    let begun = |some: &[(_, &keel_dataplane::Reading)]| -> u64 {
        some.iter().map(|(_, reading)| reading.counters.connections).sum()
    };
    assert!(begun(&more) > 0);
    assert_eq!(begun(&few) + begun(&more), u64::from(2 * MANY));
}

#[test]
fn a_handshake_that_the_client_ends_itself_leaves_nothing_behind() {
    let rig = Rig::new(&cluster("mode = \"dr\"", &[""]));
    rig.went_to(&syn(1));
    rig.went_to(&syn(1).flags(RST));
    assert_eq!(rig.half_open(&key(&client(1), VIP, 6)).unwrap().state, TcpState::Close as u8);
    assert_eq!(rig.counts(S1), (1, 0, 0), "until the short limit for closed connections");
    rig.went_to(&syn(1));
    assert_eq!(rig.counts(S1), (1, 0, 0));
    assert_eq!(rig.entries("CONNECTIONS"), 0);
}

#[test]
fn nat_sees_both_directions() {
    let rig = Rig::new(&cluster("mode = \"nat\"", &["port = 8080"]));
    let (c, real) = (client(1), "192.168.2.101:8080");
    let forward = key(&c, VIP, 6);
    let reverse = key(real, &c, 6);
    let reply = |flags: u8| {
        let run = rig.server_sends(&Pkt::tcp(real, &c, flags).mac(server_mac(ip(S1)), BACK_MAC));
        assert_eq!(run.verdict, FrameVerdict::Redirect);
    };
    rig.went_to(&syn(1));
    reply(SYN | ACK);
    assert_ne!(rig.half_open(&reverse).unwrap().flags & flags::ANSWERED, 0);
    assert_eq!(rig.counts(S1), (1, 0, 0), "the server's answer alone proves nothing");
    rig.went_to(&syn(1).flags(ACK));
    assert_eq!((rig.entries("CONNECTIONS"), rig.entries("HALF_OPEN")), (2, 0));
    reply(FIN | ACK);
    assert_eq!(rig.counts(S1), (0, 0, 1));
    assert_eq!(rig.connection(&forward).unwrap().state, TcpState::FinWait as u8);
    rig.went_to(&syn(1).flags(FIN | ACK));
    assert_eq!(rig.connection(&forward).unwrap().state, TcpState::TimeWait as u8);
    assert_eq!(rig.connection(&reverse).unwrap().state, TcpState::TimeWait as u8);
    rig.went_to(&syn(1));
    assert_eq!(rig.counts(S1), (1, 0, 0));
    assert_eq!((rig.entries("CONNECTIONS"), rig.entries("HALF_OPEN")), (0, 2));
    reply(RST | ACK);
    assert_eq!(rig.half_open(&forward).unwrap().state, TcpState::Close as u8, "refused by the server");
    let counters = rig.dataplane.server_counters(rig.id(S1)).unwrap();
    assert_eq!((counters.connections, counters.packets_out, counters.bytes_out), (2, 3, 120));
}

#[test]
fn udp_is_remembered_from_the_first_packet_and_counted_from_the_second() {
    let rig = Rig::new(&cluster("mode = \"dr\"\nprotocol = \"udp\"", &["", ""]));
    let frame = Pkt::udp(&client(1), VIP);
    let server = rig.went_to(&frame);
    for _ in 0..5 {
        assert_eq!(rig.went_to(&frame), server);
    }
    assert_eq!(rig.counts(&format!("192.168.2.{server}")), (0, 1, 0));
    assert_eq!(rig.entries("HALF_OPEN"), 0);
}

#[test]
fn one_packet_scheduling_remembers_nothing() {
    let keys = "mode = \"dr\"\nprotocol = \"udp\"\nscheduler = \"rr\"\none_packet = true";
    let rig = Rig::new(&cluster(keys, &["", "", ""]));
    let mut seen: Vec<u8> = (0..9).map(|_| rig.went_to(&Pkt::udp(&client(1), VIP))).collect();
    assert!(seen.windows(2).all(|w| w[0] != w[1]), "{seen:?}");
    seen.sort_unstable();
    assert_eq!(seen, [101, 101, 101, 102, 102, 102, 103, 103, 103]);
    assert_eq!((rig.entries("CONNECTIONS"), rig.entries("HALF_OPEN")), (0, 0));
    // All fragments of one datagram go to one server though.
    for id in 0..20 {
        let fragments = Pkt::udp(&client(1), VIP).id(id).data(400).fragments(128);
        let mut servers: Vec<u8> = fragments.iter().map(|f| rig.run(f, rig.front).frame[5]).collect();
        servers.dedup();
        assert_eq!(servers.len(), 1);
    }
}

#[test]
fn a_mid_stream_packet_without_entry_goes_to_the_rings_server_and_proves_itself_with_time() {
    let keys = "mode = \"dr\"\nscheduler = \"maglev\"\nhash_source_port = true";
    let rig = Rig::new(&cluster(keys, &[""; 5]));
    for n in 0..50 {
        let question = Question { key: key(&client(n), VIP, 6), now_ns: now_ns() };
        let Explanation::Scheduled { choice: Choice::Server(id), .. } =
            rig.dataplane.explain(&question).unwrap()
        else {
            panic!("not scheduled")
        };
        let server = rig.dataplane.shadow().servers[&id].addr;
        assert_eq!(
            rig.went_to(&Pkt::tcp(&client(n), VIP, PSH | ACK)),
            std::net::IpAddr::from(server).to_string()[10..].parse::<u8>().unwrap()
        );
        assert!(
            matches!(rig.dataplane.explain(&question).unwrap(), Explanation::Known { server, half_open: true, .. } if server == id)
        );
    }
    let k = key(&client(0), VIP, 6);
    rig.went_to(&Pkt::tcp(&client(0), VIP, ACK));
    assert_ne!(rig.half_open(&k).unwrap().flags & flags::MIDSTREAM, 0);
    rig.age("HALF_OPEN", std::time::Duration::from_secs(2));
    rig.went_to(&Pkt::tcp(&client(0), VIP, ACK));
    assert!(rig.connection(&k).is_some());
    // Ends without an entry leave none.
    rig.went_to(&Pkt::tcp(&client(900), VIP, FIN | ACK));
    rig.went_to(&Pkt::tcp(&client(901), VIP, RST));
    rig.went_to(&Pkt::tcp(&client(902), VIP, 0));
    rig.went_to(&Pkt::tcp(&client(903), VIP, SYN | ACK));
    assert_eq!(rig.entries("HALF_OPEN"), 49);
}

/// The reset to the sender of `about`.
fn reset(about: &Pkt, seq: u32, ack: u32, flags: u8) -> Pkt {
    let end = |a: std::net::IpAddr, p: u16| std::net::SocketAddr::new(a, p).to_string();
    let support::packet::Load::Tcp { ports, .. } = about.load else { panic!("not TCP") };
    let mut reset = Pkt::tcp(&end(about.dst, ports.1), &end(about.src, ports.0), flags).seq(seq, ack);
    reset.id = 0;
    reset.tags.clone_from(&about.tags);
    reset.mac(about.to, about.from)
}

#[test]
fn connections_of_a_halted_or_removed_server_follow_the_policy() {
    for removed in [false, true] {
        let (online, gone) = (["", ""], if removed { vec![""] } else { vec!["", "state = \"halt\""] });
        let keys = |policy: &str| format!("mode = \"dr\"\nscheduler = \"rr\"\non_removed = \"{policy}\"");
        // Connections on the second server, as many as we like.
        let start = |policy: &str| {
            let mut rig = Rig::new(&cluster(&keys(policy), &online));
            let of_second: Vec<String> = (0..20).map(client).filter(|c| rig.open(c, VIP) == 102).collect();
            let half: Vec<String> =
                (20..30).map(client).filter(|c| rig.went_to(&Pkt::tcp(c, VIP, SYN)) == 102).collect();
            rig.apply(&cluster(&keys(policy), &gone));
            (rig, of_second, half)
        };
        let (rig, of_second, half) = start("reschedule");
        let id = rig.servers().iter().find(|(_, s)| s.addr == ip(S2).into()).unwrap().0;
        assert_eq!(rig.counts_of(id), (5, 10, 0));
        for c in of_second.iter().chain(&half) {
            assert_eq!(rig.went_to(&Pkt::tcp(c, VIP, PSH | ACK)), 101);
        }
        assert_eq!(rig.counts_of(id), (0, 0, 0));

        let (rig, of_second, half) = start("reset");
        let frame = Pkt::tcp(&of_second[0], VIP, PSH | ACK).seq(7, 0xfedc_ba98).tag(9);
        rig.same(
            rig.client_sends(&frame),
            FrameVerdict::Transmit,
            &reset(&frame, 0xfedc_ba98, 0, RST).build(),
        );
        assert_eq!(rig.drop_count(DropReason::ServerGone), 1);
        assert_eq!(rig.went_to(&frame), 101, "afterwards it is unknown");
        let frame = Pkt::tcp(&of_second[1], VIP, FIN).seq(0xffff_ffff, 0);
        rig.same(rig.client_sends(&frame), FrameVerdict::Transmit, &reset(&frame, 0, 0, RST | ACK).build());
        assert_eq!(
            rig.went_to(&Pkt::tcp(&of_second[2], VIP, SYN)),
            101,
            "a client that begins anew is not reset"
        );
        rig.dropped(&Pkt::tcp(&of_second[3], VIP, RST).build(), DropReason::ServerGone);
        assert_eq!(rig.went_to(&Pkt::tcp(&half[0], VIP, SYN)), 101);

        let (rig, of_second, half) = start("hold");
        let expected = if removed { 102 } else { 101 };
        for c in of_second.iter().chain(&half) {
            assert_eq!(rig.went_to(&Pkt::tcp(c, VIP, PSH | ACK)), expected);
        }
        assert_eq!(rig.went_to(&syn(1000)), 101);
    }
}

#[test]
fn a_reset_over_ipv6_byte_by_byte() {
    let text = |state: &str| {
        format!(
            "[[service]]\nname = \"six\"\nlayer = 4\naddress = \"fd00:2::200\"\nports = \"80\"\nmode = \"dr\"\non_removed = \"reset\"\n\
             [service.health]\ntype = \"off\"\n\
             [[service.server]]\nname = \"s\"\naddress = \"fd00:2::65\"\nstate = \"{state}\"\n"
        )
    };
    let mut rig = Rig::new(&text("online"));
    let (c, vip) = ("[2001:db8::7]:40000", "[fd00:2::200]:80");
    rig.open(c, vip);
    rig.apply(&text("halt"));
    let frame = Pkt::tcp(c, vip, PSH | ACK).data(1000).qinq(1, 2);
    rig.same(rig.client_sends(&frame), FrameVerdict::Transmit, &reset(&frame, 0x0102_0304, 0, RST).build());
}

#[test]
fn what_a_gone_nat_server_still_sends_becomes_a_reset_to_the_client() {
    for (policy, gone, v6) in
        [("reset", "halt", false), ("reschedule", "halt", true), ("reset", "removed", true)]
    {
        let (vip, servers, c) = if v6 {
            ("fd00:2::200", ["fd00:2::65", "fd00:2::66"], "[2001:db8::7]:")
        } else {
            ("192.168.2.200", [S1, S2], "10.0.0.7:")
        };
        let text = |first: &str| {
            let mut text = format!(
                "[[service]]\nname = \"n\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nmode = \"nat\"\n\
                 on_removed = \"{policy}\"\n[service.health]\ntype = \"off\"\n"
            );
            for (address, state) in servers.iter().zip([first, "online"]).filter(|(_, s)| *s != "removed") {
                text += &format!(
                    "[[service.server]]\nname = \"s{}\"\naddress = \"{address}\"\nport = 8080\nstate = \"{state}\"\n",
                    address.len() + usize::from(*address == servers[1])
                );
            }
            text
        };
        let at = |address: &str, port: u16| std::net::SocketAddr::new(ip(address), port).to_string();
        let mut rig = Rig::new(&text("online"));
        let (vip, server) = (at(vip, 80), at(servers[0], 8080));
        // The connection is to be on the first server.
        let c = (40_000..40_064)
            .map(|port| format!("{c}{port}"))
            .find(|c| {
                rig.open(c, &vip);
                rig.connection(&key(&server, c, 6)).is_some()
            })
            .unwrap();
        rig.apply(&text(gone));
        let answer = Pkt::tcp(&server, &c, PSH | ACK).seq(0x8000_0001, 0x7fff_ffff).data(900);
        let answer = answer.mac(server_mac(ip(servers[0])), BACK_MAC);
        let mut told = Pkt::tcp(&vip, &c, RST | ACK).seq(0x8000_0001, 0x7fff_ffff).hop();
        told.id = 0;
        rig.same(rig.server_sends(&answer), FrameVerdict::Redirect, &told.mac(FRONT_MAC, CLIENT_MAC).build());
        assert_eq!(rig.connection(&key(&server, &c, 6)), None, "{policy} {gone}: nothing is left of it");
        assert_eq!(rig.connection(&key(&c, &vip, 6)), None, "{policy} {gone}: nothing is left of it");
        assert_eq!(rig.drop_count(DropReason::ServerGone), 1);
    }
}

#[test]
fn a_drained_server_keeps_its_connections_and_its_persistent_clients() {
    let keys = "mode = \"dr\"\nscheduler = \"rr\"\npersistence = { by = \"source\", timeout = \"2s\" }";
    let mut rig = Rig::new(&cluster(keys, &["", ""]));
    let second = (0..).map(client).find(|c| rig.open(c, VIP) == 102).unwrap();
    let address = second.split(':').next().unwrap().to_owned();
    rig.apply(&cluster(keys, &["", "state = \"drain\""]));
    assert_eq!(rig.went_to(&Pkt::tcp(&second, VIP, ACK)), 102);
    assert_eq!(rig.open(&format!("{address}:5"), VIP), 102, "persistence is honoured while draining");
    for n in 1000..1010 {
        assert_eq!(rig.went_to(&syn(n)), 101, "nobody else comes");
    }
    // Without anybody sending, the time runs out.
    let mut port = 100;
    eventually("persistence ends", || {
        std::thread::sleep(std::time::Duration::from_millis(2300));
        port += 1;
        rig.went_to(&Pkt::tcp(&format!("{address}:{port}"), VIP, SYN)) == 101
    });
}

#[test]
fn clients_of_one_network_stick_together_in_both_families() {
    let text = |vip: &str, servers: [&str; 4]| {
        let mut text = format!(
            "[[service]]\nname = \"sticky\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nmode = \"dr\"\nscheduler = \"rr\"\n\
             persistence = {{ by = \"source\", timeout = \"60s\", prefix4 = 24, prefix6 = 56 }}\n[service.health]\ntype = \"off\"\n"
        );
        for (i, server) in servers.iter().enumerate() {
            text += &format!("[[service.server]]\nname = \"s{i}\"\naddress = \"{server}\"\n");
        }
        text
    };
    let rig = Rig::new(&text(
        "192.168.2.200",
        ["192.168.2.101", "192.168.2.102", "192.168.2.103", "192.168.2.104"],
    ));
    let first = rig.went_to(&Pkt::tcp("192.0.2.1:1000", VIP, SYN));
    for n in 2..60 {
        assert_eq!(
            rig.open(&format!("192.0.2.{n}:1000"), VIP),
            first,
            "before and after the first is established"
        );
    }
    assert_ne!(rig.open("192.0.3.1:1000", VIP), first);
    let rig = Rig::new(&text("fd00:2::200", ["fd00:2::1", "fd00:2::2", "fd00:2::3", "fd00:2::4"]));
    let vip = "[fd00:2::200]:80";
    let first = rig.open("[2001:db8:1:200::1]:1000", vip);
    for n in 0..60 {
        assert_eq!(rig.open(&format!("[2001:db8:1:2{n:02x}::9]:1000"), vip), first);
    }
    assert_ne!(rig.open("[2001:db8:1:300::1]:1000", vip), first);
}

#[test]
fn a_client_whose_server_is_gone_sticks_to_the_new_one_at_once() {
    let keys = "mode = \"dr\"\nscheduler = \"rr\"\npersistence = { by = \"source\", timeout = \"60s\" }";
    let mut rig = Rig::new(&cluster(keys, &["", "", ""]));
    let old = rig.open("192.0.2.7:1", VIP);
    let servers: Vec<&str> = (101..104).map(|s| if s == old { "state = \"halt\"" } else { "" }).collect();
    rig.apply(&cluster(keys, &servers));
    let new = rig.went_to(&Pkt::tcp("192.0.2.7:2", VIP, SYN));
    assert_ne!(new, old);
    for port in 3..20 {
        assert_eq!(rig.went_to(&Pkt::tcp(&format!("192.0.2.7:{port}"), VIP, SYN)), new, "in parallel");
    }
}

/// Two services whose only server is the same end of a NAT server.
const ONE_END: &str = "[[service]]\nname = \"a\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\nmode = \"nat\"\n[service.health]\ntype = \"off\"\n\
                [[service.server]]\nname = \"s\"\naddress = \"192.168.2.101\"\nport = 8080\n\
                [[service]]\nname = \"b\"\nlayer = 4\naddress = \"192.168.2.201\"\nports = \"80\"\nmode = \"nat\"\n[service.health]\ntype = \"off\"\n\
                [[service.server]]\nname = \"s\"\naddress = \"192.168.2.101\"\nport = 8080\n";

#[test]
fn two_services_on_one_nat_server_do_not_steal_each_others_replies() {
    let rig = Rig::new(ONE_END);
    let (c, other) = ("192.0.2.7:1000", "192.168.2.201:80");
    let reply = Pkt::tcp("192.168.2.101:8080", c, PSH | ACK).mac(server_mac(ip(S1)), BACK_MAC);
    let from = |vip: &str| reply.clone().hop().source(vip).mac(FRONT_MAC, CLIENT_MAC);
    rig.went_to(&Pkt::tcp(c, VIP, SYN));
    rig.dropped(&Pkt::tcp(c, other, SYN).build(), DropReason::NatConflict);
    rig.went_to(&Pkt::tcp(c, VIP, ACK));
    rig.dropped(&Pkt::tcp(c, other, SYN).build(), DropReason::NatConflict);
    rig.returns(&reply, &from(VIP));
    // Once the first is over, the second may begin; the end of the first one's entry doesn't touch it.
    rig.went_to(&Pkt::tcp(c, VIP, RST));
    rig.went_to(&Pkt::tcp(c, other, SYN));
    rig.went_to(&Pkt::tcp(c, other, ACK));
    rig.returns(&reply, &from(other));
    rig.went_to(&Pkt::tcp(c, VIP, FIN | ACK));
    rig.returns(&reply, &from(other));
    rig.age("CONNECTIONS", std::time::Duration::from_secs(30));
    let mut rig = rig;
    rig.went_to(&Pkt::tcp(c, other, ACK)); // keeps the second alive
    assert_eq!(rig.dataplane.sweep(now_ns()).unwrap().removed, 1);
    rig.returns(&reply, &from(other));
}

#[test]
fn a_connection_is_not_established_with_the_entry_for_anothers_replies() {
    let rig = Rig::new(ONE_END);
    let (c, other, end) = ("192.0.2.7:1000", "192.168.2.201:80", "192.168.2.101:8080");
    rig.went_to(&Pkt::tcp(c, VIP, SYN));
    // Evicted, and another service's connection from the same port gets the place.
    rig.pinned::<FlowKey, Connection>("HALF_OPEN").remove(&key(end, c, 6)).unwrap();
    rig.went_to(&Pkt::tcp(c, other, SYN));
    rig.went_to(&Pkt::tcp(c, VIP, ACK));
    assert_eq!(rig.connection(&key(c, VIP, 6)), None);
    assert_eq!(rig.connection(&key(end, c, 6)), None);
    rig.went_to(&Pkt::tcp(c, other, ACK));
    assert!(rig.connection(&key(c, other, 6)).is_some());
    let reply = Pkt::tcp(end, c, PSH | ACK).mac(server_mac(ip(S1)), BACK_MAC);
    rig.returns(&reply, &reply.clone().hop().source(other).mac(FRONT_MAC, CLIENT_MAC));
}

#[test]
fn an_entry_for_replies_that_is_left_over_touches_no_other_connection() {
    let mut rig = Rig::new(&cluster("mode = \"nat\"\nscheduler = \"rr\"", &["", ""]));
    let (c, k) = ("192.0.2.7:1000", key("192.0.2.7:1000", VIP, 6));
    let former = rig.open(c, VIP);
    rig.pinned::<FlowKey, Connection>("CONNECTIONS").remove(&k).unwrap();
    assert_ne!(rig.open(c, VIP), former, "round robin");
    let left = format!("192.168.2.{former}");
    let reply = |flags| Pkt::tcp(&format!("{left}:80"), c, flags).mac(server_mac(ip(&left)), BACK_MAC);
    for flags in [FIN | ACK, RST] {
        rig.server_sends(&reply(flags));
        assert_eq!(rig.connection(&k).unwrap().state, TcpState::Established as u8);
    }
    rig.age("CONNECTIONS", std::time::Duration::from_secs(901));
    rig.went_to(&Pkt::tcp(c, VIP, PSH | ACK));
    rig.dataplane.sweep(now_ns()).unwrap();
    assert!(rig.connection(&k).is_some());
    assert_eq!(rig.entries("CONNECTIONS"), 2, "the one that was left over is gone");
}

#[test]
fn a_flood_of_spoofed_syns_changes_nothing_for_established_connections() {
    let sizes = Sizes { connections: 65_536, half_open: 32_768, persistence: 4096, fragments: 1024 };
    let mut rig = Rig::sized(sizes);
    rig.apply(&cluster("mode = \"dr\"\nscheduler = \"wlc\"", &["", "", ""]));
    let before: Vec<u8> = (0..1000).map(|n| rig.open(&client(n), VIP)).collect();
    let template = Pkt::tcp("10.200.0.0:1000", VIP, SYN).build();
    for n in 0..300_000u32 {
        let mut frame = template.clone();
        // The header's checksum is nobody's business before the server: only the addresses differ.
        frame[27..30].copy_from_slice(&n.to_be_bytes()[1..]);
        frame[26] = 11;
        assert_eq!(rig.run(&frame, rig.front).verdict, FrameVerdict::Redirect);
    }
    assert_eq!(rig.entries("CONNECTIONS"), 1000);
    assert!(rig.entries("HALF_OPEN") <= 32_768);
    for (n, server) in (0..1000).zip(&before) {
        assert_eq!(rig.went_to(&Pkt::tcp(&client(n), VIP, PSH | ACK)), *server);
    }
    let active: i64 = [101, 102, 103].map(|s| rig.counts(&format!("192.168.2.{s}")).1).iter().sum();
    assert_eq!(active, 1000);
    // What evictions lost is corrected by the next sweeps.
    for _ in 0..2 {
        rig.dataplane.sweep(now_ns()).unwrap();
    }
    let pending: i64 = [101, 102, 103].map(|s| rig.counts(&format!("192.168.2.{s}")).0).iter().sum();
    assert_eq!(pending, rig.entries("HALF_OPEN") as i64);
}

#[test]
fn fragments_follow_the_first_one() {
    for (vip, c, servers) in [
        ("192.168.2.200", "192.0.2.7:1000", ["192.168.2.101", "192.168.2.102"]),
        ("fd00:2::200", "[2001:db8::7]:1000", ["fd00:2::65", "fd00:2::66"]),
    ] {
        let at = std::net::SocketAddr::new(ip(vip), 80).to_string();
        for mode in ["dr", "nat"] {
            let text = format!(
                "[[service]]\nname = \"f\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nprotocol = \"tcp+udp\"\nmode = \"{mode}\"\nscheduler = \"rr\"\n\
                 [service.health]\ntype = \"off\"\n[[service.server]]\nname = \"a\"\naddress = \"{}\"\n[[service.server]]\nname = \"b\"\naddress = \"{}\"\n",
                servers[0], servers[1]
            );
            let rig = Rig::new(&text);
            let datagram = Pkt::udp(c, &at).data(1000);
            let fragments = datagram.fragments(256);
            rig.dropped(&fragments[1], DropReason::FragmentUnknown);
            let first = rig.run(&fragments[0], rig.front);
            let mac: [u8; 6] = first.frame[..6].try_into().unwrap();
            let server = servers.iter().find(|s| server_mac(ip(s)) == mac).unwrap();
            let mut expected = datagram.clone().hop().mac(BACK_MAC, mac);
            if mode == "nat" {
                expected.dst = ip(server);
            }
            let expected = expected.fragments(256);
            rig.same(first, FrameVerdict::Redirect, &expected[0]);
            for i in [3, 1, 2] {
                rig.same(rig.run(&fragments[i], rig.front), FrameVerdict::Redirect, &expected[i]);
            }
            rig.dropped(&datagram.clone().id(9).fragments(256)[1], DropReason::FragmentUnknown);
            if mode == "nat" {
                let real = std::net::SocketAddr::new(ip(server), 80).to_string();
                let answer = Pkt::udp(&real, c).data(700).mac(mac, BACK_MAC);
                let expected = answer.clone().hop().source(&at).mac(FRONT_MAC, CLIENT_MAC).fragments(400);
                for (fragment, expected) in answer.fragments(400).iter().zip(expected) {
                    rig.same(rig.run(fragment, rig.back), FrameVerdict::Redirect, &expected);
                }
            }
            // A later fragment of a SYN proves no connection.
            let mut syn = Pkt::tcp(c, &at, SYN).data(64);
            syn.id = 77;
            for fragment in syn.fragments(40) {
                assert!(checksums_hold(&rig.run(&fragment, rig.front).frame).is_ok());
            }
            assert!(rig.connection(&key(c, &at, 6)).is_none());
        }
    }
}
