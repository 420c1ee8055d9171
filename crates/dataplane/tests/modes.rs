//! What leaves the node for every mode, family and tagging, byte by byte.
mod support;
use keel_abi::DropReason;
use keel_dataplane::{FrameVerdict, Hop};
use support::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, Rig,
    packet::{ACK, FIN, Load, PSH, Pkt, SYN, UDP, ip},
    server_mac,
};

/// One service with one server.
fn service(vip: &str, keys: &str, server: &str) -> Rig {
    Rig::new(&format!(
        "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nprotocol = \"tcp+udp\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n\
         [[service.server]]\nname = \"s\"\n{server}\n"
    ))
}

const CLIENT4: &str = "192.0.2.7:40000";
const VIP4: &str = "192.168.2.200:80";
const SERVER4: &str = "192.168.2.101";
const CLIENT6: &str = "[2001:db8::7]:40000";
const VIP6: &str = "[fd00:2::200]:80";
const SERVER6: &str = "fd00:2::65";

fn dr4() -> Rig {
    service("192.168.2.200", "mode = \"dr\"", "address = \"192.168.2.101\"")
}

fn dr6() -> Rig {
    service("fd00:2::200", "mode = \"dr\"", "address = \"fd00:2::65\"")
}

fn nat4(port: &str) -> Rig {
    service("192.168.2.200", "mode = \"nat\"", &format!("address = \"10.0.0.101\"\n{port}"))
}

fn nat6(port: &str) -> Rig {
    service("fd00:2::200", "mode = \"nat\"", &format!("address = \"fd00:10::65\"\n{port}"))
}

fn tunnel(vip: &str, server: &str, how: &str) -> Rig {
    service(vip, &format!("mode = \"tun\"\n{how}"), &format!("address = \"{server}\""))
}

#[test]
fn direct_routing_changes_addresses_of_the_link_and_the_time_to_live_only() {
    for (rig, client, vip, server) in [(dr4(), CLIENT4, VIP4, SERVER4), (dr6(), CLIENT6, VIP6, SERVER6)] {
        for frame in [
            Pkt::tcp(client, vip, SYN).tos(0xb9),
            Pkt::tcp(client, vip, ACK),
            Pkt::tcp(client, vip, PSH | ACK).data(1399),
            Pkt::tcp(client, vip, FIN | ACK),
            Pkt::udp(client, vip),
            Pkt::udp(client, vip).ttl(2),
            Pkt::udp(client, vip).data(0),
        ] {
            rig.forwards(&frame, &frame.clone().hop().mac(BACK_MAC, server_mac(ip(server))));
        }
    }
}

#[test]
fn a_packet_leaves_by_the_interface_it_came_in_by_if_that_is_where_the_server_is() {
    let mut rig = dr4();
    let front = rig.front;
    rig.reach(ip(SERVER4).into(), |hop| Hop { ifindex: front, own_mac: FRONT_MAC, ..hop });
    let frame = Pkt::tcp(CLIENT4, VIP4, SYN);
    let expected = frame.clone().hop().mac(FRONT_MAC, server_mac(ip(SERVER4)));
    rig.same(rig.client_sends(&frame), FrameVerdict::Transmit, &expected.build());
}

#[test]
fn options_and_extension_headers_travel_along() {
    let (rig4, rig6) = (dr4(), dr6());
    for length in [4, 8, 40] {
        // Record route, padded with "no operation".
        let mut options = vec![1; length];
        options[..3].copy_from_slice(&[7, 3, 4]);
        for frame in
            [Pkt::tcp(CLIENT4, VIP4, SYN).options(&options), Pkt::udp(CLIENT4, VIP4).options(&options)]
        {
            rig4.forwards(&frame, &frame.clone().hop().mac(BACK_MAC, server_mac(ip(SERVER4))));
        }
    }
    for kinds in [&[0][..], &[60], &[0, 60, 43], &[0, 60, 43, 60, 60, 60]] {
        let mut frame = Pkt::tcp(CLIENT6, VIP6, SYN);
        for kind in kinds {
            frame = frame.extension(*kind, &[0, 1, 4, 0, 0, 0, 0]);
        }
        frame = frame.extension(60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rig6.forwards(&frame, &frame.clone().hop().mac(BACK_MAC, server_mac(ip(SERVER6))));
    }
}

#[test]
fn vlan_tags_are_added_removed_and_exchanged() {
    let mut rigs = [(dr4(), CLIENT4, VIP4, SERVER4), (dr6(), CLIENT6, VIP6, SERVER6)];
    for (rig, client, vip, server) in &mut rigs {
        let mac = server_mac(ip(server));
        let plain = Pkt::tcp(client, vip, SYN);
        let out = plain.clone().hop().mac(BACK_MAC, mac);
        // Behind an untagged port.
        rig.forwards(&plain.clone().tag(100), &out);
        rig.forwards(&plain.clone().tag(0x6000), &out); // priority only (802.1p)
        rig.reach(ip(server).into(), |hop| Hop { vlan: 200, ..hop });
        rig.forwards(&plain, &out.clone().tag(200));
        rig.forwards(&plain.clone().tag(100), &out.clone().tag(200));
        rig.forwards(&plain.clone().tag(200), &out.clone().tag(200));
        // The priority (and drop eligibility) of the frame is kept.
        rig.forwards(&plain.clone().tag(0xb000 | 100), &out.clone().tag(0xb000 | 200));
        // Two tags stay: such frames stay in their segment.
        rig.forwards(&plain.clone().qinq(100, 300), &out.clone().qinq(100, 300));
    }
}

#[test]
fn nat_translates_both_ways_and_ports_too() {
    for (port, sport) in [("", "80"), ("port = 8080", "8080")] {
        for (rig, client, vip, server) in [
            (nat4(port), CLIENT4, VIP4, format!("10.0.0.101:{sport}")),
            (nat6(port), CLIENT6, VIP6, format!("[fd00:10::65]:{sport}")),
        ] {
            let mac = server_mac(support::packet::end(&server).0);
            let there = |p: &Pkt| p.clone().hop().destination(&server).mac(BACK_MAC, mac);
            let back = |p: &Pkt| p.clone().hop().source(vip).mac(FRONT_MAC, CLIENT_MAC);
            let from_server = |p: Pkt| p.mac(mac, BACK_MAC);
            let request = Pkt::tcp(client, vip, SYN).tos(0x10);
            rig.forwards(&request, &there(&request));
            rig.forwards(&request, &there(&request));
            let answer = from_server(Pkt::tcp(&server, client, SYN | ACK));
            rig.returns(&answer, &back(&answer));
            for flags in [ACK, PSH | ACK] {
                let more = Pkt::tcp(client, vip, flags);
                rig.forwards(&more, &there(&more));
                let answer = from_server(Pkt::tcp(&server, client, flags).data(1001));
                rig.returns(&answer, &back(&answer));
            }
            for frame in [Pkt::udp(client, vip), Pkt::udp(client, vip).data(333), Pkt::udp(client, vip)] {
                rig.forwards(&frame, &there(&frame));
                let answer = from_server(Pkt::udp(&server, client).data(99));
                rig.returns(&answer, &back(&answer));
            }
            let end = Pkt::tcp(client, vip, FIN | ACK);
            rig.forwards(&end, &there(&end));
            let end = from_server(Pkt::tcp(&server, client, FIN | ACK));
            rig.returns(&end, &back(&end));
        }
    }
}

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let rig = nat4("port = 8080");
    let frame = Pkt::udp(CLIENT4, VIP4).no_sum();
    let mac = server_mac(ip("10.0.0.101"));
    rig.forwards(&frame, &frame.clone().hop().destination("10.0.0.101:8080").mac(BACK_MAC, mac));
    let answer = Pkt::udp("10.0.0.101:8080", CLIENT4).no_sum().mac(mac, BACK_MAC);
    rig.returns(&answer, &answer.clone().hop().source(VIP4).mac(FRONT_MAC, CLIENT_MAC));
}

#[test]
fn a_udp_checksum_that_comes_to_zero_is_sent_as_all_ones() {
    let rig = nat4("port = 8080");
    let mac = server_mac(ip("10.0.0.101"));
    let mut zeroes = 0;
    for tail in 0..=u16::MAX {
        let mut frame = Pkt::udp(CLIENT4, VIP4);
        if let Load::Udp { data, .. } = &mut frame.load {
            *data = tail.to_be_bytes().to_vec();
        }
        let expected = frame.clone().hop().destination("10.0.0.101:8080").mac(BACK_MAC, mac);
        let bytes = expected.build();
        if bytes[40..42] == [0xff, 0xff] {
            zeroes += 1;
            rig.forwards(&frame, &expected);
        }
    }
    assert!(zeroes >= 1);
}

#[test]
fn replies_take_the_clients_tag() {
    let mut rig = nat4("port = 8080");
    let mac = server_mac(ip("10.0.0.101"));
    rig.reach(ip("10.0.0.101").into(), |hop| Hop { vlan: 30, ..hop });
    let frame = Pkt::tcp(CLIENT4, VIP4, SYN).tag(0x2000 | 100);
    let there = frame.clone().hop().destination("10.0.0.101:8080").mac(BACK_MAC, mac);
    rig.forwards(&frame, &there.tag(0x2000 | 30));
    let answer = Pkt::tcp("10.0.0.101:8080", CLIENT4, SYN | ACK).mac(mac, BACK_MAC).tag(0x4000 | 30);
    let back = answer.clone().hop().source(VIP4).mac(FRONT_MAC, CLIENT_MAC);
    rig.returns(&answer, &back.tag(0x4000 | 100));
    // A client that comes untagged now is answered untagged.
    let frame = Pkt::udp(CLIENT4, VIP4);
    let there = frame.clone().hop().destination("10.0.0.101:8080").mac(BACK_MAC, mac);
    rig.forwards(&frame, &there.tag(30));
    let answer = Pkt::udp("10.0.0.101:8080", CLIENT4).mac(mac, BACK_MAC).tag(30);
    let back = answer.clone().hop().source(VIP4).mac(FRONT_MAC, CLIENT_MAC).untagged();
    rig.returns(&answer, &back);
}

#[test]
fn replies_to_a_client_behind_two_tags_go_back_behind_two_tags() {
    let rig = nat4("port = 8080");
    let mac = server_mac(ip("10.0.0.101"));
    let frame = Pkt::tcp(CLIENT4, VIP4, SYN).qinq(100, 300);
    assert_eq!(rig.client_sends(&frame).verdict, FrameVerdict::Redirect);
    let answer = Pkt::tcp("10.0.0.101:8080", CLIENT4, SYN | ACK).mac(mac, BACK_MAC);
    let back = answer.clone().hop().source(VIP4).mac(FRONT_MAC, CLIENT_MAC).qinq(100, 300);
    rig.returns(&answer, &back);
}

/// The tunnel packet around `inner` (after its hop), with what the path adds.
fn outer(inner: &Pkt, from: &str, to: &str, load: Option<(u16, u16)>, flow: u32) -> Pkt {
    let packet = inner.clone().hop().ip_packet();
    let mut outer = match load {
        None => Pkt::raw(from, to, if inner.src.is_ipv4() { 4 } else { 41 }, packet),
        Some(ports) => {
            let mut udp = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
            udp.extend((8 + packet.len() as u16).to_be_bytes());
            udp.extend([0, 0]);
            udp.extend(packet);
            Pkt::raw(from, to, UDP, udp)
        }
    };
    outer.flow = flow;
    outer.tos(inner.tos).id(0).mac(BACK_MAC, server_mac(ip(to)))
}

/// The flow hash the packet path uses for labels and ports: from its own library, the value is not the contract.
fn flow(client: &str, vip: &str, proto: u8) -> u32 {
    keel_abi::flow_hash(0, &support::key(client, vip, proto))
}

#[test]
fn ip_in_ip_in_all_four_combinations_of_families() {
    for (vip, client, vip_end) in [("192.168.2.200", CLIENT4, VIP4), ("fd00:2::200", CLIENT6, VIP6)] {
        for (server, local) in [("10.9.0.101", "10.0.0.2"), ("fd00:9::65", "fd00:10::2")] {
            let mut rig = tunnel(vip, server, "tunnel = \"ip\"");
            for vlan in [0, 77] {
                rig.reach(ip(server).into(), |hop| Hop { vlan, ..hop });
                for frame in [
                    Pkt::tcp(client, vip_end, SYN).tos(0xb9),
                    Pkt::tcp(client, vip_end, ACK),
                    Pkt::tcp(client, vip_end, PSH | ACK).data(1300).tos(3),
                    Pkt::udp(client, vip_end),
                ] {
                    let proto = if matches!(frame.load, Load::Udp { .. }) { UDP } else { 6 };
                    let label =
                        if server.contains(':') { flow(client, vip_end, proto) & 0xf_ffff } else { 0 };
                    let mut expected = outer(&frame, local, server, None, label);
                    if vlan != 0 {
                        expected = expected.tag(vlan);
                    }
                    rig.forwards(&frame, &expected);
                    rig.forwards(&frame.clone().tag(5), &expected);
                    let priority = expected.clone().tag(if vlan != 0 { 0xe000 | vlan } else { 0 });
                    let expected = if vlan != 0 { priority } else { expected };
                    rig.forwards(&frame.clone().qinq(0xe005, 6), &expected);
                }
            }
        }
    }
}

#[test]
fn generic_udp_encapsulation_in_all_four_combinations_of_families() {
    for (vip, client, vip_end) in [("192.168.2.200", CLIENT4, VIP4), ("fd00:2::200", CLIENT6, VIP6)] {
        for (server, local) in [("10.9.0.101", "10.0.0.2"), ("fd00:9::65", "fd00:10::2")] {
            let rig = tunnel(vip, server, "tunnel = \"gue\"\ntunnel_port = 6081");
            for frame in
                [Pkt::tcp(client, vip_end, SYN).tos(0xb9), Pkt::tcp(client, vip_end, PSH | ACK).data(1300)]
            {
                let hash = flow(client, vip_end, 6);
                let label = if server.contains(':') { hash & 0xf_ffff } else { 0 };
                let ports = (0xc000 | (hash as u16 & 0x3fff), 6081);
                rig.forwards(&frame, &outer(&frame, local, server, Some(ports), label));
            }
        }
    }
}

#[test]
fn each_server_of_a_tunnel_service_may_be_of_another_family() {
    let rig = Rig::new(
        "[[service]]\nname = \"far\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\nmode = \"tun\"\nscheduler = \"rr\"\n\
         [service.health]\ntype = \"off\"\n\
         [[service.server]]\nname = \"a\"\naddress = \"10.9.0.101\"\n\
         [[service.server]]\nname = \"b\"\naddress = \"fd00:9::66\"\n",
    );
    let mut seen = Vec::new();
    for port in 1..=4 {
        let run = rig.client_sends(&Pkt::tcp(&format!("192.0.2.7:{port}"), VIP4, SYN));
        seen.push((run.frame[5], run.frame[12..14].to_vec()));
    }
    seen.sort();
    assert_eq!(
        seen,
        [(101, vec![8, 0]), (101, vec![8, 0]), (0x66, vec![0x86, 0xdd]), (0x66, vec![0x86, 0xdd])]
    );
}

#[test]
fn frames_for_somebody_else_and_packets_that_are_nobodys_pass() {
    let mut rig = dr4();
    let ours = Pkt::tcp(CLIENT4, VIP4, SYN);
    rig.passes(&ours.clone().mac(CLIENT_MAC, BACK_MAC).build()); // the other interface's address
    rig.passes(&ours.clone().mac(CLIENT_MAC, [0xff; 6]).build());
    rig.passes(&ours.clone().mac(CLIENT_MAC, [2, 9, 9, 9, 9, 9]).build());
    rig.passes(&ours.clone().destination("192.168.2.200:81").build());
    rig.passes(&ours.clone().destination("192.168.2.202:80").build());
    rig.passes(&Pkt::icmp_error(&CLIENT4[..9], "192.168.2.200", 8, 0, 7, b"are you there?", 14).build());
    rig.passes(&Pkt::raw("192.0.2.7", "192.168.2.200", 50, vec![0; 30]).build());
    let arp = [&[0xff; 6][..], &CLIENT_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    rig.passes(&arp);
    assert_eq!(rig.dataplane.totals().unwrap().passed, 8);
    assert_eq!(
        rig.run(&ours.build(), 1).verdict,
        FrameVerdict::Pass,
        "an interface the program doesn't know"
    );
    rig.dataplane.set_active(false).unwrap();
    rig.passes(&ours.build());
    rig.dataplane.set_active(true).unwrap();
    assert_eq!(rig.client_sends(&ours).verdict, FrameVerdict::Redirect);
}

#[test]
fn without_a_neighbour_packets_are_dropped_and_the_daemon_is_told() {
    let mut rig = dr4();
    rig.dataplane.set_hop(ip(SERVER4).into(), None).unwrap();
    let frame = Pkt::tcp(CLIENT4, VIP4, SYN).build();
    for _ in 0..10 {
        rig.dropped(&frame, DropReason::NoNeighbour);
    }
    let path = rig.dataplane.shadow().paths[&ip(SERVER4).into()];
    assert_eq!(rig.dataplane.wanted_paths(), [path]);
    assert!(rig.dataplane.wanted_paths().is_empty(), "told once");
    for _ in 0..256 {
        rig.dropped(&frame, DropReason::NoNeighbour);
    }
    assert_eq!(rig.dataplane.wanted_paths(), [path], "and again after a while");
    rig.reach(ip(SERVER4).into(), |hop| hop);
    assert_eq!(rig.run(&frame, rig.front).verdict, FrameVerdict::Redirect);
}

#[test]
fn an_interface_that_is_not_ours_counts_as_such() {
    let mut rig = dr4();
    rig.reach(ip(SERVER4).into(), |hop| Hop { ifindex: 9999, ..hop });
    rig.dropped(&Pkt::tcp(CLIENT4, VIP4, SYN).build(), DropReason::NoInterface);
    assert_eq!(rig.dataplane.totals().unwrap().forwarded, 0);
}
