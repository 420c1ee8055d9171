//! Adding and removing addresses, and finding the interface for one.

use ipnet::IpNet;
use keel_net::{
    AddressOptions, Cause, InterfaceAddress, NetError, Netlink, Route, RouteTarget, owner_of, sysctl,
};

use crate::lab::{Namespace, eventually, pair, without_link_local};

#[test]
fn a_floating_address_is_usable_at_once_and_brings_no_route() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let link = netlink.link("eth0").await.unwrap();
        let before = without_link_local(netlink.routes().await.unwrap());
        let own: Vec<_> = settled(&netlink).await.iter().map(|a| a.address.addr()).collect();
        for text in ["10.0.0.9/24", "fd00:10::9/64"] {
            let address: IpNet = text.parse().unwrap();
            netlink.add_address(&link, address, AddressOptions::FLOATING).await.unwrap();
            netlink
                .add_address(&link, address, AddressOptions::FLOATING)
                .await
                .expect("adding twice is fine");
            let all = netlink.addresses().await.unwrap();
            let added = all.iter().find(|a| a.address == address).unwrap();
            assert!(!added.unusable && added.no_prefix_route && added.interface == link.index, "{added:?}");
        }
        // Each address is a local route of its own, and nothing else came. On an interface that is only just up, the
        // kernel adds the IPv6 ones a moment later, that of the interface's own address too.
        let added = async || {
            let mut now = without_link_local(netlink.routes().await.unwrap());
            now.retain(|route| !before.contains(route) && !own.contains(&route.to.addr()));
            now
        };
        eventually("both local routes are there", async || added().await.len() >= 2).await;
        let added = added().await;
        assert_eq!(added.len(), 2, "{added:#?}");
        assert!(added.iter().all(|route| matches!(route.target, RouteTarget::Local { .. })), "{added:#?}");
    });
}

/// The addresses that we gave, without the kernel's link-local ones.
async fn settled(netlink: &Netlink) -> Vec<InterfaceAddress> {
    let mut addresses = netlink.addresses().await.unwrap();
    let link_local: IpNet = "fe80::/10".parse().unwrap();
    addresses.retain(|a| !link_local.contains(&a.address));
    addresses
}

#[test]
fn removing_an_address_twice_is_fine_and_leaves_the_others() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let link = netlink.link("eth0").await.unwrap();
        let before = settled(&netlink).await;
        for text in ["10.0.0.9/24", "fd00:10::9/64"] {
            let address: IpNet = text.parse().unwrap();
            netlink.add_address(&link, address, AddressOptions::FLOATING).await.unwrap();
            netlink.remove_address(&link, address).await.unwrap();
            netlink.remove_address(&link, address).await.unwrap();
        }
        assert_eq!(settled(&netlink).await, before);
    });
}

#[test]
fn a_refused_address_names_the_operation_the_place_and_the_cause() {
    let namespace = Namespace::new();
    namespace.run(async || {
        let netlink = Netlink::connect().unwrap();
        let mut link = netlink.link("lo").await.unwrap();
        link.index = 4711;
        link.name = "eth7".into();
        let refused =
            netlink.add_address(&link, "10.0.0.9/24".parse().unwrap(), AddressOptions::default()).await;
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), "adding 10.0.0.9/24 to eth7");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("No such device"), "{cause}");
    });
}

#[test]
fn the_kernels_own_sentence_is_passed_on() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let route = Route::new("10.9.0.0/24".parse().unwrap(), Some("10.99.0.1".parse().unwrap()), None);
        let error = netlink.add_route(&route).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("Nexthop has invalid gateway"), "{cause}");
    });
}

#[test]
fn the_interface_of_a_floating_address_is_the_one_in_its_subnet() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let (links, addresses) = (netlink.links().await.unwrap(), netlink.addresses().await.unwrap());
        let owner = |ip: &str| owner_of(ip.parse().unwrap(), &links, &addresses);
        for ip in ["10.0.0.200", "fd00:10::200"] {
            assert_eq!(owner(ip).unwrap().name, "eth0");
        }
        let error = owner("192.168.7.7").unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/24 on eth0"), "{error}");
    });
}

#[test]
fn a_handle_that_outlived_its_runtime_says_so() {
    let namespace = Namespace::new();
    let orphan = namespace.run(async || Netlink::connect().unwrap());
    namespace.run(async || {
        let error = orphan.links().await.unwrap_err();
        assert!(matches!(error, NetError::List { source: Cause::Closed, .. }), "{error:?}");
    });
}

#[test]
fn a_missing_interface_is_named() {
    Namespace::new().run(async || {
        let error = Netlink::connect().unwrap().link("eth9").await.unwrap_err();
        assert!(
            matches!(&error, NetError::NoSuchInterface { interface } if interface == "eth9"),
            "{error:?}"
        );
    });
}

#[test]
fn interfaces_are_described_and_changed() {
    let (left, right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let names: Vec<_> = netlink.links().await.unwrap().into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["lo", "eth0"]);
        let link = netlink.link("eth0").await.unwrap();
        assert!(link.is_running() && link.kind == "veth" && link.mac.is_some() && !link.loopback, "{link:?}");
        netlink.set_mtu(&link, 1400).await.unwrap();
        assert_eq!(netlink.link_by_index(link.index).await.unwrap().mtu, 1400);
        netlink.set_up(&link, false).await.unwrap();
        assert!(!netlink.link("eth0").await.unwrap().up);
    });
    let far = right.link("eth0");
    assert!(far.up && !far.carrier, "{far:?}");
}

#[test]
fn forwarding_and_redirects_are_set_in_this_namespace_only() {
    let (left, right) = pair();
    left.run(async || {
        sysctl::enable_forwarding(sysctl::Family::V4).unwrap();
        sysctl::enable_forwarding(sysctl::Family::V6).unwrap();
        sysctl::stop_redirects("eth0").unwrap();
        assert_eq!(sysctl::get("net/ipv4/ip_forward").unwrap(), "1");
        assert_eq!(sysctl::get("net/ipv6/conf/eth0/forwarding").unwrap(), "1");
        assert_eq!(sysctl::get("net/ipv4/conf/eth0/send_redirects").unwrap(), "0");
        let error = sysctl::stop_redirects("eth9").unwrap_err().to_string();
        assert!(error.contains("conf/eth9/send_redirects") && error.contains("no such setting"), "{error}");
    });
    right.run(async || assert_eq!(sysctl::get("net/ipv4/ip_forward").unwrap(), "0"));
}
