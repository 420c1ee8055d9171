//! Routes of `node.toml` and routing rules, which [`crate::policy`] decides. What is ours carries our protocol number, so that what is no longer wanted is
//! found and removed whoever added it, and nobody else's routes are touched.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use keel_model::{Destination, Route as WantedRoute};
use keel_net::{NetError, Route, RouteTarget};

use crate::{node::Node, policy};

impl Node {
    /// Makes the kernel's routes what `node.toml` wants. One that is refused keeps no other from being made, and is tried
    /// again with the next change of the network, or within half a minute.
    pub(crate) async fn apply_routes(&mut self) {
        let present = match self.netlink.routes().await {
            Ok(routes) => routes.into_iter().filter(Route::is_ours).collect::<Vec<_>>(),
            Err(error) => return self.fail("routes", &error),
        };
        self.succeed("routes");
        let (mut wanted, mut outcome) = (Vec::new(), Vec::new());
        for (route, dev) in self.config.routes.iter().map(|written| (self.route(written), &written.dev)) {
            let missing = dev.as_ref().filter(|dev| self.link(dev).is_none());
            let made = match missing {
                Some(dev) => Err(NetError::NoSuchInterface { interface: dev.clone() }),
                None if present.iter().any(|there| is_that(&route, there)) => Ok(()),
                None => self.netlink.add_route(&route).await,
            };
            outcome.push((format!("route {route}"), made));
            wanted.push(route);
        }
        for old in present.iter().filter(|there| !wanted.iter().any(|route| is_in_place_of(route, there))) {
            outcome.push((format!("route {old}"), self.netlink.remove_route(old).await));
        }
        let subjects = outcome.iter().map(|(subject, _)| subject.clone()).collect();
        for (subject, done) in outcome {
            match done {
                Ok(()) => self.succeed(&subject),
                Err(error) => self.fail(&subject, &error),
            }
        }
        self.forget_failures("route ", &subjects);
    }

    /// Makes the kernel's rules what `node.toml` and the virtual addresses want.
    pub(crate) async fn apply_rules(&mut self) {
        match self.make_rules().await {
            Ok(()) => self.succeed("policy routes"),
            Err(error) => self.fail("policy routes", &error),
        }
    }

    fn route(&self, wanted: &WantedRoute) -> Route {
        let v6 = wanted.via.is_some_and(|via| via.is_ipv6());
        let to = match wanted.to {
            Destination::Net(net) => net.trunc(),
            Destination::Default if v6 => everything(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            Destination::Default => everything(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let interface = wanted.dev.as_deref().and_then(|name| self.link(name)).map(|link| link.index);
        let mut route = Route::new(to, wanted.via, interface);
        if let Some(table) = wanted.table {
            route = route.in_table(table);
        }
        Route { metric: wanted.metric, ..route }
    }

    /// All that can be made are; the first refusal is told.
    async fn make_rules(&mut self) -> Result<(), NetError> {
        let wanted = policy::rules(&self.config, &self.cluster);
        let present = self.netlink.our_rules().await?;
        let mut outcome = Ok(());
        for rule in wanted.iter().filter(|rule| !present.contains(rule)) {
            outcome = outcome.and(self.netlink.add_rule(rule).await);
        }
        for rule in present.iter().filter(|rule| !wanted.contains(rule)) {
            outcome = outcome.and(self.netlink.remove_rule(rule).await);
        }
        outcome
    }
}

/// Whether a route in the kernel has the place of one that is wanted: adding that replaces it. The kernel gives IPv6
/// routes without a metric, or with 0, one of its own.
fn is_in_place_of(wanted: &Route, there: &Route) -> bool {
    let kernels = wanted.metric.is_none() || wanted.metric == Some(0) && wanted.to.addr().is_ipv6();
    let same_metric = kernels || wanted.metric == Some(there.metric.unwrap_or(0));
    wanted.to == there.to && wanted.table == there.table && same_metric
}

/// Whether it is the very route. Where no interface is written the kernel has chosen one.
fn is_that(wanted: &Route, there: &Route) -> bool {
    let same_way = match (&wanted.target, &there.target) {
        (
            RouteTarget::Unicast { via, interface },
            RouteTarget::Unicast { via: there_via, interface: there_interface },
        ) => via == there_via && (interface.is_none() || interface == there_interface),
        (wanted, there) => wanted == there,
    };
    same_way && is_in_place_of(wanted, there)
}

/// The network of prefix length 0.
fn everything(unspecified: IpAddr) -> IpNet {
    IpNet::new(unspecified, 0).unwrap_or_else(|_| IpNet::from(unspecified))
}
