//! The stream of what changes in the kernel.

use keel_net::{AddressOptions, Event, Netlink, Route, Watch};
use tokio::time::timeout;

use crate::lab::{PATIENCE, pair};

async fn until(watch: &mut Watch, what: &str, matches: impl Fn(&Event) -> bool) -> Event {
    timeout(PATIENCE, async {
        loop {
            let event = watch.next_event().await.expect("the watch ended");
            if matches(&event) {
                return event;
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("no event: {what}"))
}

#[test]
fn every_kind_of_change_is_heard() {
    let (left, right) = pair();
    let mac = right.link("eth0").mac;
    left.run(async || {
        let mut watch = Netlink::watch().unwrap();
        let netlink = Netlink::connect().unwrap();
        let link = netlink.link("eth0").await.unwrap();
        let address = "10.0.0.9/24".parse().unwrap();

        netlink.add_address(&link, address, AddressOptions::FLOATING).await.unwrap();
        until(&mut watch, "address", |e| matches!(e, Event::Address(a) if a.address == address)).await;
        netlink.remove_address(&link, address).await.unwrap();
        until(&mut watch, "address gone", |e| matches!(e, Event::AddressGone(a) if a.address == address)).await;

        let route = Route::new("10.9.0.0/24".parse().unwrap(), "10.0.0.2".parse().ok(), None);
        netlink.add_route(&route).await.unwrap();
        until(&mut watch, "route", |e| matches!(e, Event::Route(r) if r.to == route.to && r.is_ours())).await;
        netlink.remove_route(&route).await.unwrap();
        until(&mut watch, "route gone", |e| matches!(e, Event::RouteGone(r) if r.to == route.to)).await;

        let peer = "10.0.0.2".parse().unwrap();
        netlink.keep_resolved(link.index, peer).await.unwrap();
        until(&mut watch, "neighbour", |e| matches!(e, Event::Neighbour(n) if n.address == peer && n.usable() == mac)).await;
        netlink.forget_neighbour(link.index, peer).await.unwrap();
        until(&mut watch, "neighbour gone", |e| {
            matches!(e, Event::NeighbourGone { interface, address } if *interface == link.index && *address == peer)
        })
        .await;

        right.run(async || {
            let netlink = Netlink::connect().unwrap();
            let link = netlink.link("eth0").await.unwrap();
            netlink.set_up(&link, false).await.unwrap();
        });
        until(&mut watch, "carrier lost", |e| matches!(e, Event::Link(l) if l.name == "eth0" && !l.carrier)).await;

        netlink.remove_link(&link).await.unwrap();
        until(&mut watch, "link gone", |e| matches!(e, Event::LinkGone(index) if *index == link.index)).await;
    });
}
