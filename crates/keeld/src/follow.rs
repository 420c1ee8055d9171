//! Following the kernel's tables: events are only noted, and acted upon together every tick, so that a thousand of them
//! cost no more than one.
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use keel_net::{Event, OUR_PROTOCOL, RouteTarget, Watch};

use crate::node::Node;

/// What has changed since it was last acted upon.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    links: bool,
    routes: bool,
    own_routes_gone: bool,
    own_rules_gone: bool,
    addresses: BTreeSet<(u32, IpAddr)>,
    addresses_gone: BTreeSet<(u32, IpAddr)>,
    neighbours: BTreeSet<IpAddr>,
}

/// Shared between the one who notes and the one who acts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noted(Arc<Mutex<Changes>>);

impl Noted {
    fn note(&self, event: Event) {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Neighbour(neighbour) => {
                changes.neighbours.insert(neighbour.address);
            }
            Event::NeighbourGone { address, .. } => {
                changes.neighbours.insert(address);
            }
            Event::Link(_) | Event::LinkGone(_) | Event::Lost => changes.links = true,
            Event::RouteGone(route) if route.protocol == OUR_PROTOCOL => changes.own_routes_gone = true,
            Event::RuleGone(_) => changes.own_rules_gone = true,
            // Every address has a local route; they lead nowhere else.
            Event::Route(route) | Event::RouteGone(route) => {
                let local =
                    matches!(route.target, RouteTarget::Local { .. }) || route.protocol == OUR_PROTOCOL;
                changes.routes |= !local;
            }
            Event::Address(address) => {
                changes.addresses.insert((address.interface, address.address.addr()));
            }
            Event::AddressGone(address) => {
                changes.addresses_gone.insert((address.interface, address.address.addr()));
            }
            _ => {}
        }
    }

    /// Everything noted so far, once.
    pub(crate) fn take(&self) -> Changes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notes events until there are no more.
pub(crate) async fn follow(noted: Noted, mut watch: Watch) {
    while let Some(event) = watch.next_event().await {
        noted.note(event);
    }
}

impl Node {
    /// Acts on what has changed in the kernel.
    pub(crate) async fn act_on(&mut self, changes: Changes) {
        if changes.links {
            self.read_links().await;
            self.attach_interfaces();
        }
        let written = |(_, address): &(u32, IpAddr)| {
            self.config.interfaces.iter().any(|i| i.addresses.iter().any(|net| net.addr() == *address))
        };
        if changes.links || changes.own_routes_gone || changes.addresses_gone.iter().any(written) {
            self.set_up_interfaces().await;
            self.apply_routes().await;
        }
        if changes.links || changes.routes {
            self.resolve_all().await;
        } else {
            for neighbour in changes.neighbours {
                self.neighbour_changed(neighbour).await;
            }
        }
        let mut moved = changes.links;
        for (device, address) in changes.addresses_gone {
            moved |= self.floating.lose(address, device);
        }
        // Somebody else's: perhaps of the network that a floating address has waited for.
        moved |= changes.addresses.iter().any(|(device, address)| !self.floating.holds(*address, *device));
        if moved {
            self.apply_addresses().await;
        } else if changes.own_rules_gone {
            self.apply_rules().await;
        }
    }

    /// Looks at everything that this node should have, whatever events said: some tools change more than they tell.
    pub(crate) async fn keep_machine(&mut self) {
        self.set_up_interfaces().await;
        self.attach_interfaces();
        self.remove_predecessors();
        self.apply_routes().await;
        self.apply_addresses().await;
        self.tell_certificates();
    }
}
