//! Resolving neighbours, keeping them, and hearing of their moves.

use std::{net::IpAddr, time::Duration};

use keel_net::{MacAddr, NeighbourState, NetError, Netlink, announce::Announcer};

use crate::lab::{PATIENCE, eventually, ip, pair};

#[test]
fn soliciting_returns_the_mac_and_the_kernel_keeps_it() {
    let (left, right) = pair();
    let mac = right.link("eth0").mac.unwrap();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let index = netlink.link("eth0").await.unwrap().index;
        for text in ["10.0.0.2", "fd00:10::2"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(netlink.neighbour(index, address).await.unwrap(), None);
            assert_eq!(netlink.solicit(index, address, PATIENCE).await.unwrap(), mac);
            let known = netlink.neighbour(index, address).await.unwrap().unwrap();
            assert!(known.managed && known.usable() == Some(mac), "{known:?}");
            assert_eq!(netlink.solicit(index, address, PATIENCE).await.unwrap(), mac, "asking again is fine");
            assert!(netlink.neighbours().await.unwrap().iter().any(|n| n.address == address));

            netlink.release_neighbour(index, address).await.unwrap();
            let released = netlink.neighbour(index, address).await.unwrap().unwrap();
            assert!(!released.managed && released.usable() == Some(mac), "{released:?}");

            netlink.forget_neighbour(index, address).await.unwrap();
            netlink.forget_neighbour(index, address).await.expect("forgetting twice is fine");
            let gone = netlink.neighbour(index, address).await.unwrap();
            assert!(gone.is_none_or(|n| n.usable().is_none()));
        }
    });
}

#[test]
fn an_address_that_nobody_has_is_unresolved_in_time() {
    let (left, _right) = pair();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let index = netlink.link("eth0").await.unwrap().index;
        for text in ["10.0.0.77", "fd00:10::77"] {
            let refused = netlink.solicit(index, text.parse().unwrap(), Duration::from_millis(100)).await;
            let error = refused.unwrap_err();
            assert!(matches!(error, NetError::Unresolved { .. }), "{error:?}");
            assert!(error.to_string().contains(text), "{error}");
        }
    });
}

#[test]
fn a_missing_interface_is_refused_at_once() {
    let (left, _right) = pair();
    left.run(async || {
        let refused = Netlink::connect().unwrap().keep_resolved(4711, "10.0.0.2".parse().unwrap()).await;
        assert!(matches!(refused, Err(NetError::Neighbour { interface: 4711, .. })), "{refused:?}");
    });
}

#[test]
fn a_server_that_comes_up_later_is_found_without_asking_again() {
    let (left, right) = pair();
    let mac = right.link("eth0").mac.unwrap();
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let index = netlink.link("eth0").await.unwrap().index;
        let late: IpAddr = "10.0.0.50".parse().unwrap();
        assert!(netlink.solicit(index, late, Duration::from_millis(50)).await.is_err());
        right.address("eth0", "10.0.0.50/24");
        eventually("the kernel asks again by itself", async || {
            netlink.neighbour(index, late).await.unwrap().and_then(|n| n.usable()) == Some(mac)
        })
        .await;
    });
}

#[test]
fn an_announcement_moves_an_address_to_its_new_mac() {
    let (left, right) = pair();
    let moved = MacAddr([2, 0, 0, 0, 0, 0x42]);
    left.run(async || {
        let netlink = Netlink::connect().unwrap();
        let index = netlink.link("eth0").await.unwrap().index;
        let addresses: [IpAddr; 2] = ["10.0.0.2", "fd00:10::2"].map(|ip| ip.parse().unwrap());
        for address in addresses {
            assert_ne!(netlink.solicit(index, address, PATIENCE).await.unwrap(), moved);
        }
        // Linux ignores a new MAC address for a second after the last change (locktime); let the entries age.
        eventually("the entries may be overridden", async || {
            right.run(async || {
                let mut link = Netlink::connect().unwrap().link("eth0").await.unwrap();
                link.mac = Some(moved);
                for address in addresses {
                    Announcer::open(&link, address).unwrap().announce(address).unwrap();
                }
            });
            let mut all_moved = true;
            for address in addresses {
                let known = netlink.neighbour(index, address).await.unwrap().unwrap();
                all_moved &= known.mac == Some(moved) && known.state != NeighbourState::Failed;
            }
            all_moved
        })
        .await;
    });
}

#[test]
fn a_permanent_entry_is_usable_and_stays() {
    let (left, _right) = pair();
    left.run(async || {
        ip("neigh add 10.0.0.60 lladdr 02:00:00:00:00:60 dev eth0");
        let netlink = Netlink::connect().unwrap();
        let index = netlink.link("eth0").await.unwrap().index;
        let address = "10.0.0.60".parse().unwrap();
        let known = netlink.neighbour(index, address).await.unwrap().unwrap();
        assert_eq!(known.state, NeighbourState::Fixed);
        assert_eq!(known.usable().unwrap().to_string(), "02:00:00:00:00:60");
    });
}
