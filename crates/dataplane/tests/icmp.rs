//! ICMP: errors this node makes, errors it passes on, and what it learns from them.
mod support;
use keel_abi::DropReason;
use keel_dataplane::{FrameVerdict, Hop};
use support::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, Rig,
    packet::{ACK, FIN, PSH, Pkt, SYN, ip},
    server_mac,
};

const CLIENT4: &str = "192.0.2.7:40000";
const VIP4: &str = "192.168.2.200:80";
const CLIENT6: &str = "[2001:db8::7]:40000";
const VIP6: &str = "[fd00:2::200]:80";

fn service(vip: &str, keys: &str, server: &str) -> Rig {
    Rig::new(&format!(
        "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"{vip}\"\nports = \"80\"\nprotocol = \"tcp+udp\"\n{keys}\n\
         [service.health]\ntype = \"off\"\n\
         [[service.server]]\nname = \"s\"\n{server}\n"
    ))
}

/// The error to the sender of `about`, from its destination.
fn error(about: &Pkt, kind: u8, code: u8, rest: u32) -> Pkt {
    let quoted = about.ip_packet();
    let quote = if about.src.is_ipv4() { 28 } else { 48 };
    let (src, dst) = (about.dst.to_string(), about.src.to_string());
    let mut error = Pkt::icmp_error(&src, &dst, kind, code, rest, &quoted, quote).id(0);
    error.dont_fragment = false;
    error.tags.clone_from(&about.tags);
    error.mac(about.to, about.from)
}

#[test]
fn a_time_to_live_that_ends_here_is_told() {
    for (rig, client, vip, kind) in [
        (service("192.168.2.200", "mode = \"dr\"", "address = \"192.168.2.101\""), CLIENT4, VIP4, 11),
        (service("fd00:2::200", "mode = \"nat\"", "address = \"fd00:10::65\""), CLIENT6, VIP6, 3),
    ] {
        for ttl in [0, 1] {
            for frame in [
                Pkt::tcp(client, vip, SYN),
                Pkt::tcp(client, vip, PSH | ACK).data(1400),
                Pkt::udp(client, vip).data(0),
                Pkt::udp(client, vip).tag(100),
                Pkt::udp(client, vip).qinq(100, 0x2200),
            ] {
                let frame = frame.ttl(ttl);
                let run = rig.client_sends(&frame);
                rig.same(run, FrameVerdict::Transmit, &error(&frame, kind, 0, 0).build());
            }
        }
        assert_eq!(rig.drop_count(DropReason::TtlExpired), 10);
        assert_eq!(rig.dataplane.totals().unwrap().answered, 10);
    }
}

#[test]
fn what_does_not_fit_is_told_with_the_size_that_does() {
    for (vip, client, at) in [("192.168.2.200", CLIENT4, VIP4), ("fd00:2::200", CLIENT6, VIP6)] {
        let v6 = vip.contains(':');
        for (server, how, overhead) in [
            ("10.9.0.101", "mode = \"tun\"\ntunnel = \"ip\"", 20),
            ("fd00:9::65", "mode = \"tun\"\ntunnel = \"ip\"", 40),
            ("10.9.0.101", "mode = \"tun\"\ntunnel = \"gue\"", 28),
            ("fd00:9::65", "mode = \"tun\"\ntunnel = \"gue\"", 48),
        ] {
            let mut rig = service(vip, how, &format!("address = \"{server}\""));
            rig.reach(ip(server).into(), |hop| Hop { mtu: 1450, ..hop });
            let limit = 1450 - overhead;
            let headers = if v6 { 60 } else { 40 };
            let fits = Pkt::tcp(client, at, PSH | ACK).data(limit - headers);
            assert_eq!(rig.client_sends(&fits).verdict, FrameVerdict::Redirect);
            let frame = Pkt::tcp(client, at, PSH | ACK).data(limit - headers + 1);
            let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
            let expected = error(&frame, kind, code, limit as u32);
            rig.same(rig.client_sends(&frame), FrameVerdict::Transmit, &expected.build());
            assert_eq!(rig.drop_count(DropReason::TooBig), 1);
        }
    }
}

#[test]
fn answers_are_limited_and_never_about_errors_or_later_fragments() {
    let rig = service("192.168.2.200", "mode = \"dr\"", "address = \"192.168.2.101\"");
    let frame = Pkt::udp(CLIENT4, VIP4).ttl(1);
    let bytes = frame.build();
    let mut answered = 0;
    for _ in 0..1500 {
        answered += u32::from(rig.run(&bytes, rig.front).verdict == FrameVerdict::Transmit);
    }
    assert!((1000..1500).contains(&answered), "{answered}");
    assert_eq!(rig.drop_count(DropReason::TtlExpired), 1500);

    std::thread::sleep(std::time::Duration::from_millis(1100)); // a new window
    let quoted = Pkt::tcp(VIP4, CLIENT4, ACK).ip_packet();
    let about = Pkt::icmp_error("192.0.2.1", "192.168.2.200", 11, 0, 0, &quoted, 28).ttl(1);
    assert_eq!(rig.client_sends(&about).verdict, FrameVerdict::Drop);
    let fragments = Pkt::udp(CLIENT4, VIP4).data(100).ttl(1).fragments(64);
    assert_eq!(rig.run(&fragments[0], rig.front).verdict, FrameVerdict::Transmit);
    assert_eq!(rig.run(&fragments[1], rig.front).verdict, FrameVerdict::Drop);
}

/// An ICMP error from `from` about `quoted`, as it leaves towards a server or a client: the quote may be short.
fn about(from: &str, to: &str, v6_kind: u8, v4_kind: u8, rest: u32, quoted: &Pkt, quote: usize) -> Pkt {
    let v6 = from.contains(':');
    let kind = if v6 { v6_kind } else { v4_kind };
    let code = if v4_kind == 3 && !v6 { 4 } else { 0 };
    Pkt::icmp_error(from, to, kind, code, rest, &quoted.ip_packet(), quote)
}

#[test]
fn an_error_about_a_virtual_service_reaches_the_server_of_the_connection() {
    for (vip, client, at, server, router) in [
        ("192.168.2.200", CLIENT4, VIP4, "10.0.0.101", "198.51.100.1"),
        ("fd00:2::200", CLIENT6, VIP6, "fd00:10::65", "2001:db8:5::1"),
    ] {
        let mac = server_mac(ip(server));
        let bracketed = |port: u16| std::net::SocketAddr::new(ip(server), port).to_string();
        for (mode, real) in [
            ("mode = \"dr\"", at.to_owned()),
            ("mode = \"nat\"", bracketed(8080)),
            ("mode = \"nat\"", bracketed(80)),
        ] {
            let port = if real == bracketed(8080) { "port = 8080" } else { "" };
            let rig = service(vip, mode, &format!("address = \"{server}\"\n{port}"));
            rig.client_sends(&Pkt::tcp(client, at, SYN));
            for flags in [SYN | ACK, PSH | ACK] {
                for (v6_kind, v4_kind, rest) in [(2, 3, 1400), (3, 11, 0), (1, 12, 7)] {
                    // A router on the client's side quotes the reply as it saw it: from the virtual address. What it
                    // quotes of the transport header, the server knows with its own address and port: only the checksum
                    // of the quote stays what it was.
                    let virtual_reply = Pkt::tcp(at, client, flags).ttl(40);
                    for quote in [28, 48] {
                        let quote = if vip.contains(':') { quote + 20 } else { quote }; // header and 8, or more
                        let frame = about(router, vip, v6_kind, v4_kind, rest, &virtual_reply, quote);
                        let mut expected = frame.clone().hop().mac(BACK_MAC, mac);
                        if mode.contains("nat") {
                            expected.dst = ip(server);
                            let real_reply = Pkt::tcp(&real, client, flags).ttl(40);
                            expected.load = about(
                                router,
                                server,
                                v6_kind,
                                v4_kind,
                                rest,
                                &quoting(&real_reply, &virtual_reply),
                                quote,
                            )
                            .load;
                        }
                        rig.forwards(&frame, &expected);
                    }
                }
            }
        }
    }
}

/// `real` with the transport checksum of `seen`: quotes are not corrected there.
fn quoting(real: &Pkt, seen: &Pkt) -> Pkt {
    let header = if real.src.is_ipv4() { 20 } else { 40 };
    let mut bytes = real.ip_packet()[header..].to_vec();
    let check = header + 16;
    bytes[16..18].copy_from_slice(&seen.ip_packet()[check..check + 2]);
    let mut quoted = real.clone();
    quoted.load = support::packet::Load::Raw { protocol: 6, bytes };
    quoted
}

#[test]
fn an_error_from_the_servers_side_reaches_the_client_as_if_from_the_virtual_address() {
    for (vip, client, at, server, router) in [
        ("192.168.2.200", CLIENT4, VIP4, "10.0.0.101", "10.0.0.1"),
        ("fd00:2::200", CLIENT6, VIP6, "fd00:10::65", "fd00:10::1"),
    ] {
        let mac = server_mac(ip(server));
        let real = std::net::SocketAddr::new(ip(server), 8080).to_string();
        let rig = service(vip, "mode = \"nat\"", &format!("address = \"{server}\"\nport = 8080"));
        let client_ip = support::packet::end(client).0.to_string();
        rig.client_sends(&Pkt::tcp(client, at, SYN));
        for _ in 0..2 {
            for from in [server, router] {
                for (v6_kind, v4_kind, rest) in [(2, 3, 1280), (1, 11, 0)] {
                    let seen = Pkt::tcp(client, &real, PSH | ACK).ttl(63);
                    let told = Pkt::tcp(client, at, PSH | ACK).ttl(63);
                    let frame = about(from, &client_ip, v6_kind, v4_kind, rest, &seen, 68).mac(mac, BACK_MAC);
                    let mut expected = frame.clone().hop().mac(FRONT_MAC, CLIENT_MAC);
                    expected.src = ip(vip);
                    expected.load =
                        about(vip, &client_ip, v6_kind, v4_kind, rest, &quoting(&told, &seen), 68).load;
                    rig.returns(&frame, &expected);
                }
            }
            // Once more over an established connection.
            rig.client_sends(&Pkt::tcp(client, at, ACK));
        }
    }
}

#[test]
fn errors_about_nothing_of_ours_are_dropped_or_passed() {
    let rig = service("192.168.2.200", "mode = \"dr\"", "address = \"192.168.2.101\"");
    // About a packet that wasn't from the virtual address it is sent to.
    let forged = about("192.0.2.1", "192.168.2.200", 1, 11, 0, &Pkt::tcp("192.168.2.9:80", CLIENT4, ACK), 28);
    rig.dropped(&forged.build(), DropReason::IcmpUnrelated);
    let no_service =
        about("192.0.2.1", "192.168.2.200", 1, 11, 0, &Pkt::tcp("192.168.2.200:81", CLIENT4, ACK), 28);
    rig.dropped(&no_service.build(), DropReason::IcmpUnrelated);
    // No entry: the ring's server, which is where a connection without an entry would be.
    let lost = about("192.0.2.1", "192.168.2.200", 1, 11, 0, &Pkt::tcp(VIP4, CLIENT4, FIN | ACK), 28);
    assert_eq!(rig.went_to(&lost), 101);
    let ours = about("192.0.2.1", "192.168.2.2", 1, 11, 0, &Pkt::tcp("192.168.2.2:22", CLIENT4, ACK), 28);
    rig.passes(&ours.build());
    let short = about("192.0.2.1", "192.168.2.200", 1, 11, 0, &Pkt::tcp(VIP4, CLIENT4, ACK), 12);
    rig.passes(&short.build());
}

#[test]
fn an_error_about_a_connection_of_a_halted_server_is_not_delivered_to_it() {
    let cluster = |state: &str| {
        format!(
            "[[service]]\nname = \"one\"\nlayer = 4\naddress = \"192.168.2.200\"\nports = \"80\"\nmode = \"dr\"\n\
             [service.health]\ntype = \"off\"\n\
             [[service.server]]\nname = \"s\"\naddress = \"192.168.2.101\"\nstate = \"{state}\"\n"
        )
    };
    let mut rig = Rig::new(&cluster("online"));
    rig.open(CLIENT4, VIP4);
    let frame = about("192.0.2.1", "192.168.2.200", 1, 11, 0, &Pkt::tcp(VIP4, CLIENT4, ACK), 28);
    assert_eq!(rig.went_to(&frame), 101);
    rig.apply(&cluster("halt"));
    rig.dropped(&frame.build(), DropReason::IcmpUnrelated);
}

#[test]
fn a_tunnel_learns_what_its_path_holds() {
    for (vip, client, at) in [("192.168.2.200", CLIENT4, VIP4), ("fd00:2::200", CLIENT6, VIP6)] {
        for (server, local, router) in
            [("10.9.0.101", "10.0.0.2", "10.5.5.5"), ("fd00:9::65", "fd00:10::2", "fd00:5::5")]
        {
            for how in ["tunnel = \"ip\"", "tunnel = \"gue\""] {
                let v6_vip = vip.contains(':');
                let overhead =
                    if server.contains(':') { 40 } else { 20 } + if how.contains("gue") { 8 } else { 0 };
                let rig = service(vip, &format!("mode = \"tun\"\n{how}"), &format!("address = \"{server}\""));
                let frame = Pkt::tcp(client, at, PSH | ACK).data(1380);
                let run = rig.client_sends(&frame);
                assert_eq!(run.verdict, FrameVerdict::Redirect);
                let learn = |mtu: u32, from: &str| {
                    let (kind, code) = if server.contains(':') { (2, 0) } else { (3, 4) };
                    let told = Pkt::icmp_error(router, from, kind, code, mtu, &run.frame[14..], 68);
                    rig.passes(&told.build());
                };
                let told = |mtu: u32| {
                    let (kind, code) = if v6_vip { (2, 0) } else { (3, 4) };
                    rig.same(
                        rig.client_sends(&frame),
                        FrameVerdict::Transmit,
                        &error(&frame, kind, code, mtu - overhead).build(),
                    );
                };
                learn(1400, local);
                told(1400);
                // Nothing below what every link carries is believed.
                learn(100, local);
                told(if server.contains(':') { 1280 } else { 576 });
            }
        }
    }
}

#[test]
fn a_forged_error_with_a_quote_that_is_not_ours_teaches_nothing() {
    let rig = service("192.168.2.200", "mode = \"tun\"", "address = \"10.9.0.101\"");
    let forged = Pkt::raw("10.66.66.66", "10.9.0.101", 4, vec![0; 20]).ip_packet();
    rig.passes(&Pkt::icmp_error("192.0.2.1", "10.0.0.2", 3, 4, 600, &forged, 40).build());
    let frame = Pkt::tcp(CLIENT4, VIP4, PSH | ACK).data(1400);
    assert_eq!(rig.client_sends(&frame).verdict, FrameVerdict::Redirect);
}
