//! Next hops, our routes and our rules.

use keel_net::{NetError, Netlink, PolicyRule, Route, RouteTarget};

use crate::lab::{Namespace, ip, pair, without_link_local};

#[test]
fn a_next_hop_is_the_destination_itself_or_its_gateway() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let link = netlink.link("eth0").await.unwrap();
        netlink
            .add_route(&Route::new("0.0.0.0/0".parse().unwrap(), "10.0.0.2".parse().ok(), None))
            .await
            .unwrap();
        netlink
            .add_route(&Route::new("::/0".parse().unwrap(), "fd00:10::2".parse().ok(), None))
            .await
            .unwrap();

        for (to, neighbour, source) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.1"),
            ("192.168.3.10", "10.0.0.2", "10.0.0.1"),
            ("fd00:10::7", "fd00:10::7", "fd00:10::1"),
            ("fd00:3::10", "fd00:10::2", "fd00:10::1"),
        ] {
            let hop = netlink.next_hop(to.parse().unwrap()).await.unwrap();
            assert_eq!(hop.neighbour.to_string(), neighbour);
            assert_eq!(hop.on_link, to == neighbour);
            assert_eq!(hop.source.unwrap().to_string(), source);
            assert_eq!((hop.interface, hop.interface_name.as_str()), (link.index, "eth0"));
            assert_eq!((hop.mtu, hop.vlan, hop.local), (1500, None, false));
        }
        assert!(netlink.next_hop("10.0.0.1".parse().unwrap()).await.unwrap().local);
    });
}

#[test]
fn a_routes_own_mtu_bounds_the_next_hop() {
    let (left, _right) = pair();
    left.run(async || {
        ip("route add 10.9.0.0/24 via 10.0.0.2 mtu 1400");
        let hop = Netlink::connect().unwrap().next_hop("10.9.0.7".parse().unwrap()).await.unwrap();
        assert_eq!(hop.mtu, 1400);
    });
}

#[test]
fn no_route_is_said_so() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        ip("route add blackhole 10.66.0.0/16");
        ip("route add prohibit 10.67.0.0/16");
        for to in ["192.168.3.10", "fd00:3::10", "10.66.0.1", "10.67.0.1"] {
            let error = netlink.next_hop(to.parse().unwrap()).await.unwrap_err();
            assert!(matches!(error, NetError::NoRoute { .. }), "{to}: {error:?}");
        }
    });
}

#[test]
fn a_rule_of_ours_sends_a_source_through_its_own_table() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        ip("addr add 10.0.0.9/32 dev eth0");
        for gateway in ["10.0.0.2", "10.0.0.3"] {
            let table = if gateway == "10.0.0.3" { 1009 } else { 254 };
            let route = Route::new("0.0.0.0/0".parse().unwrap(), gateway.parse().ok(), None).in_table(table);
            netlink.add_route(&route).await.unwrap();
        }
        let rule = PolicyRule::new("10.0.0.9/32".parse().unwrap(), 1009, 1000);
        netlink.add_rule(&rule).await.unwrap();
        netlink.add_rule(&rule).await.expect("adding twice is fine");
        assert_eq!(netlink.our_rules().await.unwrap(), std::slice::from_ref(&rule));

        let to = "192.168.3.10".parse().unwrap();
        let usual = netlink.next_hop(to).await.unwrap();
        let special = netlink.next_hop_from(to, "10.0.0.9".parse().ok()).await.unwrap();
        assert_eq!(usual.neighbour.to_string(), "10.0.0.2");
        assert_eq!(special.neighbour.to_string(), "10.0.0.3");

        netlink.remove_rule(&rule).await.unwrap();
        netlink.remove_rule(&rule).await.expect("removing twice is fine");
        assert_eq!(
            netlink.next_hop_from(to, "10.0.0.9".parse().ok()).await.unwrap().neighbour,
            usual.neighbour
        );
    });
}

#[test]
fn a_rule_without_the_default_route_reaches_what_is_near_and_nothing_else() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        ip("addr add 172.16.0.9/32 dev eth0");
        ip("route add default via 10.0.0.2");
        ip("route add default via 10.0.0.3 table 1009");
        let from = "172.16.0.9/32".parse().unwrap();
        let rules = [PolicyRule::new(from, 254, 1000).without_default(), PolicyRule::new(from, 1009, 1001)];
        for rule in &rules {
            netlink.add_rule(rule).await.unwrap();
        }
        assert_eq!(netlink.our_rules().await.unwrap(), rules);
        for (to, neighbour) in [("10.0.0.77", "10.0.0.77"), ("192.168.3.10", "10.0.0.3")] {
            let hop = netlink.next_hop_from(to.parse().unwrap(), "172.16.0.9".parse().ok()).await.unwrap();
            assert_eq!(hop.neighbour.to_string(), neighbour, "to {to}");
        }
        netlink.remove_rule(&rules[0]).await.unwrap();
        assert_eq!(netlink.our_rules().await.unwrap(), &rules[1..]);
    });
}

#[test]
fn removing_all_ours_leaves_the_administrators() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        ip("route add 10.1.0.0/16 via 10.0.0.2");
        ip("rule add from 10.1.0.0/16 lookup 77 priority 500");
        let before = without_link_local(netlink.routes().await.unwrap());

        for to in ["10.2.0.0/16", "fd00:2::/32"] {
            let via = if to.contains(':') { "fd00:10::2" } else { "10.0.0.2" };
            netlink.add_route(&Route::new(to.parse().unwrap(), via.parse().ok(), None)).await.unwrap();
            netlink
                .add_route(&Route::new(to.parse().unwrap(), via.parse().ok(), None).in_table(1009))
                .await
                .unwrap();
            let rule = PolicyRule { to: to.parse().ok(), ..PolicyRule::new(to.parse().unwrap(), 1009, 1001) };
            netlink.add_rule(&rule).await.unwrap();
        }
        let blackhole = Route {
            target: RouteTarget::Blackhole,
            ..Route::new("10.3.0.0/16".parse().unwrap(), None, None)
        };
        netlink.add_route(&blackhole).await.unwrap();

        assert_eq!(netlink.remove_all_ours().await.unwrap(), 7);
        assert_eq!(netlink.remove_all_ours().await.unwrap(), 0);
        assert_eq!(without_link_local(netlink.routes().await.unwrap()), before);
        let rules = std::process::Command::new("ip").arg("rule").output().unwrap().stdout;
        assert!(String::from_utf8(rules).unwrap().contains("lookup 77"));
    });
}

#[test]
fn replacing_a_route_moves_it_to_the_new_gateway() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let to = "10.9.0.0/24".parse().unwrap();
        for gateway in ["10.0.0.2", "10.0.0.3"] {
            netlink.add_route(&Route::new(to, gateway.parse().ok(), None)).await.unwrap();
        }
        let all = netlink.routes().await.unwrap();
        let found: Vec<_> = all.iter().filter(|r| r.to == to).collect();
        assert_eq!(found.len(), 1);
        assert!(matches!(found[0].target, RouteTarget::Unicast { via: Some(via), .. } if via.to_string() == "10.0.0.3"));
        assert!(found[0].is_ours());
        netlink.remove_route(found[0]).await.unwrap();
        netlink.remove_route(found[0]).await.expect("removing twice is fine");
    });
}

#[test]
fn several_gateways_are_read_as_such() {
    let (left, _right) = pair();
    left.run(async || {
        ip("route add 10.9.0.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.3");
        let all = Netlink::connect().unwrap().routes().await.unwrap();
        let route = all.iter().find(|r| r.to.to_string() == "10.9.0.0/24").unwrap();
        assert!(matches!(&route.target, RouteTarget::Multipath(hops) if hops.len() == 2), "{route:?}");
    });
}

#[test]
fn a_namespace_without_routes_has_no_way_out() {
    Namespace::new().run(async || {
        let error = Netlink::connect().unwrap().next_hop("10.0.0.1".parse().unwrap()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no route to 10.0.0.1: Network is unreachable (os error 101); add a route or a default gateway"
        );
    });
}
