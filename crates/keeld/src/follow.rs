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
    addresses_gone: BTreeSet<IpAddr>,
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
            // Every address has a local route; they lead nowhere else.
            Event::Route(route) | Event::RouteGone(route) => {
                let local =
                    matches!(route.target, RouteTarget::Local { .. }) || route.protocol == OUR_PROTOCOL;
                changes.routes |= !local;
            }
            Event::AddressGone(address) => {
                changes.addresses_gone.insert(address.address.addr());
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
        if changes.links || changes.routes {
            self.resolve_all().await;
        } else {
            for neighbour in changes.neighbours {
                self.neighbour_changed(neighbour).await;
            }
        }
        let lost = changes.addresses_gone.iter().any(|address| self.floating.lose(*address));
        if changes.links || lost {
            self.apply_addresses().await;
        }
    }
}
