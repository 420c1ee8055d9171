//! Routes of `node.toml` and routing rules, which [`crate::policy`] decides. What is ours carries our protocol number, so that what is no longer wanted is
//! found and removed whoever added it, and nobody else's routes are touched.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use keel_model::{Destination, Route as WantedRoute};
use keel_net::{NetError, Route};

use crate::{node::Node, policy};

impl Node {
    /// Makes the kernel's routes what `node.toml` wants.
    pub(crate) async fn apply_routes(&mut self) {
        match self.make_routes().await {
            Ok(()) => self.succeed("routes"),
            Err(error) => self.fail("routes", &error),
        }
    }

    /// Makes the kernel's rules what `node.toml` and the virtual addresses want.
    pub(crate) async fn apply_rules(&mut self) {
        match self.make_rules().await {
            Ok(()) => self.succeed("policy routes"),
            Err(error) => self.fail("policy routes", &error),
        }
    }

    async fn make_routes(&mut self) -> Result<(), NetError> {
        let wanted: Vec<Route> = self.config.routes.iter().map(|route| self.route(route)).collect();
        for route in &wanted {
            self.netlink.add_route(route).await?;
        }
        let same = |a: &Route, b: &Route| {
            a.to == b.to && a.table == b.table && a.metric.unwrap_or(0) == b.metric.unwrap_or(0)
        };
        for old in self.netlink.routes().await?.iter().filter(|route| route.is_ours()) {
            // The kernel gives IPv6 routes without a metric one of its own.
            let kept = wanted.iter().any(|new| {
                same(new, old) || (new.metric.is_none() && new.to == old.to && new.table == old.table)
            });
            if !kept {
                self.netlink.remove_route(old).await?;
            }
        }
        Ok(())
    }

    fn route(&self, wanted: &WantedRoute) -> Route {
        let v6 = wanted.via.is_some_and(|via| via.is_ipv6());
        let to = match wanted.to {
            Destination::Net(net) => net,
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

    async fn make_rules(&mut self) -> Result<(), NetError> {
        let wanted = policy::rules(&self.config, &self.cluster);
        let present = self.netlink.our_rules().await?;
        for rule in wanted.iter().filter(|rule| !present.contains(rule)) {
            self.netlink.add_rule(rule).await?;
        }
        for rule in present.iter().filter(|rule| !wanted.contains(rule)) {
            self.netlink.remove_rule(rule).await?;
        }
        Ok(())
    }
}

/// The network of prefix length 0.
fn everything(unspecified: IpAddr) -> IpNet {
    IpNet::new(unspecified, 0).unwrap_or_else(|_| IpNet::from(unspecified))
}
