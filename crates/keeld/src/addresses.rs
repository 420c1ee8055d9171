//! Floating addresses: one for each virtual address and those added by hand; on the right interface, announced, and
//! taken away when they are no longer wanted. What was added is written down in the run folder, so that a keeld that
//! starts anew knows which addresses are the node's own and which came from it.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::PathBuf,
    time::Instant,
};

use ipnet::IpNet;
use keel_model::{Cluster, Mode4, Service, load_cluster};
use keel_net::{
    AddressOptions, InterfaceAddress, Link, NetError,
    announce::{Announcer, Schedule},
    nft::AutoNat,
    sysctl,
};
use keel_store::{AtomicFile, RealFs};
use tracing::{info, warn};

use crate::{interfaces::chain, node::Node};

/// An address we hold.
#[derive(Debug)]
struct Held {
    net: IpNet,
    interface: String,
    schedule: Schedule,
    announcer: Option<Announcer>,
}

/// All addresses that float.
#[derive(Debug)]
pub(crate) struct Floating {
    record: PathBuf,
    /// Added by an earlier process and not looked at yet.
    recorded: BTreeSet<IpNet>,
    held: BTreeMap<IpAddr, Held>,
    /// The rules in force; not known at the start.
    autonat: Option<AutoNat>,
}

impl Floating {
    /// Starts with what an earlier process wrote down.
    pub(crate) fn open(record: PathBuf) -> Self {
        let recorded =
            fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { record, recorded, held: BTreeMap::new(), autonat: None }
    }

    /// Every address that isn't the node's own.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.recorded.iter().map(IpNet::addr).chain(self.held.keys().copied()).collect()
    }

    /// The interface an address is on.
    pub(crate) fn interface_of(&self, address: IpAddr) -> Option<&str> {
        self.held.get(&address).map(|held| held.interface.as_str())
    }

    /// Writes down what is held and what is about to be: a keeld that is killed between the two must find it.
    fn write_down(&self, wanted: &BTreeMap<IpAddr, Wanted>) {
        let held = self.held.values().map(|h| h.net).chain(self.recorded.iter().copied());
        let nets: BTreeSet<IpNet> = held.chain(wanted.values().map(|w| w.net)).collect();
        let written = serde_json::to_vec(&nets).map_err(|error| error.to_string()).and_then(|bytes| {
            AtomicFile::on(&RealFs).write(&self.record, &bytes, 0o644).map_err(|error| chain(&error))
        });
        if let Err(error) = written {
            warn!(path = %self.record.display(), "writing down the floating addresses: {error}");
        }
    }

    /// Somebody else took an address away. True if it was held.
    pub(crate) fn lose(&mut self, address: IpAddr) -> bool {
        self.held.remove(&address).is_some()
    }

    /// Sends the announcements that are due.
    pub(crate) fn announce(&mut self, now: Instant) {
        for (address, held) in &mut self.held {
            if held.schedule.due(now)
                && let Some(announcer) = &held.announcer
                && let Err(error) = announcer.announce(*address)
            {
                tracing::debug!(%address, "{error}");
            }
        }
    }
}

/// An address somebody wants, with the interface if it was said.
struct Wanted {
    net: IpNet,
    interface: Option<String>,
}

fn wanted(cluster: &Cluster) -> BTreeMap<IpAddr, Wanted> {
    let mut wanted = BTreeMap::new();
    for service in cluster.services.iter().filter(|s| s.enabled) {
        wanted.insert(service.address, Wanted { net: IpNet::from(service.address), interface: None });
    }
    for floating in &cluster.floating_ips {
        let interface = floating.interface.clone();
        wanted.insert(floating.address.addr(), Wanted { net: floating.address, interface });
    }
    wanted
}

/// The addresses a configuration makes float, whatever else is wrong with it.
pub(crate) fn floating_of(text: &str) -> Vec<IpAddr> {
    load_cluster(text).0.map(|cluster| wanted(&cluster).into_keys().collect()).unwrap_or_default()
}

fn uses_nat(service: &Service) -> bool {
    service.enabled && service.as_layer4().is_some_and(|l4| l4.mode == Mode4::Nat)
}

impl Node {
    /// Makes the floating addresses what the configuration wants.
    pub(crate) async fn apply_addresses(&mut self) {
        let wanted = wanted(&self.cluster);
        let present = match self.netlink.addresses().await {
            Ok(present) => present,
            Err(error) => return self.fail("floating addresses", &error),
        };
        self.floating.write_down(&wanted);
        // Before the addresses: nothing may leave from one by the wrong way.
        self.apply_rules().await;
        self.take_away(&wanted, &present).await;
        for (address, wanted) in wanted {
            let subject = format!("address {address}");
            match self.hold(address, wanted, &present).await {
                Ok(()) => self.succeed(&subject),
                Err(error) => self.fail(&subject, &error),
            }
        }
        self.floating.write_down(&BTreeMap::new());
        self.apply_forwarding().await;
    }

    async fn take_away(&mut self, wanted: &BTreeMap<IpAddr, Wanted>, present: &[InterfaceAddress]) {
        let ours: Vec<IpNet> = self
            .floating
            .held
            .values()
            .map(|h| h.net)
            .chain(self.floating.recorded.iter().copied())
            .collect();
        for net in ours.into_iter().filter(|net| wanted.get(&net.addr()).is_none_or(|w| w.net != *net)) {
            for there in present.iter().filter(|a| a.address == net) {
                if let Some(link) = self.links.get(&there.interface)
                    && let Err(error) = self.netlink.remove_address(link, net).await
                {
                    warn!(address = %net, "{error}");
                }
            }
            info!(address = %net.addr(), "floating address removed");
            self.floating.held.remove(&net.addr());
            self.floating.recorded.remove(&net);
        }
    }

    async fn hold(
        &mut self,
        address: IpAddr,
        wanted: Wanted,
        present: &[InterfaceAddress],
    ) -> Result<(), NetError> {
        let there = present.iter().find(|a| a.address.addr() == address);
        let (link, connected) = self.place(address, &wanted, there).await?;
        if there.is_none() {
            let options = AddressOptions { no_prefix_route: connected, no_dad: true };
            self.netlink.add_address(&link, wanted.net, options).await?;
            info!(%address, interface = link.name, "floating address added");
        }
        self.floating.recorded.remove(&wanted.net);
        let moved = self.floating.held.get(&address).is_none_or(|held| held.interface != link.name);
        if moved {
            let announcer = if link.loopback { None } else { Announcer::open(&link, address).ok() };
            let held = Held {
                net: wanted.net,
                interface: link.name.clone(),
                schedule: Schedule::start(Instant::now()),
                announcer,
            };
            self.floating.held.insert(address, held);
        }
        Ok(())
    }

    /// The interface for an address, and whether it has an address of that network already. An address that no
    /// interface's network holds goes on the loopback: it is reached by a route that points here.
    async fn place(
        &self,
        address: IpAddr,
        wanted: &Wanted,
        there: Option<&InterfaceAddress>,
    ) -> Result<(Link, bool), NetError> {
        if let Some(link) = there.and_then(|a| self.links.get(&a.interface)) {
            return Ok((link.clone(), true));
        }
        let connected = self.netlink.interface_for(address).await;
        if let Some(name) = &wanted.interface {
            let link = self.netlink.link(name).await?;
            let same = connected.is_ok_and(|found| found.index == link.index);
            return Ok((link, same));
        }
        match (connected, self.links.values().find(|l| l.loopback)) {
            (Ok(link), _) => Ok((link, true)),
            (Err(NetError::NoInterfaceFor { .. }), Some(loopback)) => Ok((loopback.clone(), true)),
            (Err(error), _) => Err(error),
        }
    }

    /// Forwarding by the kernel, needed where it carries what the packet path doesn't: the servers' own traffic.
    async fn apply_forwarding(&mut self) {
        let autonat = !self.cluster.layer4.autonat.is_empty();
        let nat = |v4: bool| self.cluster.services.iter().any(|s| uses_nat(s) && s.address.is_ipv4() == v4);
        let (v4, v6) = (autonat || nat(true), nat(false));
        if v4 || v6 {
            // IPv6 forwarding makes a node deaf to router advertisements, so only where a service needs it.
            for (family, _) in
                [(sysctl::Family::V4, v4), (sysctl::Family::V6, v6)].into_iter().filter(|(_, on)| *on)
            {
                match self.former.set(family.forwarding(), "1") {
                    Ok(()) => self.succeed("forwarding"),
                    Err(error) => self.fail("forwarding", &error),
                }
            }
            // One-arm NAT would otherwise tell clients and servers to talk past us.
            for name in self.attachments.keys().flat_map(|name| sysctl::redirects(name)) {
                if let Err(error) = self.former.set(&name, "0") {
                    tracing::debug!(name, "{}", chain(&error));
                }
            }
        }
        // Without an interface the addresses make no difference.
        let interfaces = self.cluster.layer4.autonat.clone();
        let virtual_ips = match interfaces.is_empty() {
            true => Vec::new(),
            false => self.cluster.services.iter().map(|s| s.address).collect(),
        };
        let autonat = AutoNat { interfaces, virtual_ips };
        if self.floating.autonat.as_ref() == Some(&autonat) {
            return;
        }
        match autonat.apply().await {
            Ok(()) => {
                self.floating.autonat = Some(autonat);
                self.succeed("autonat");
            }
            Err(error) => self.fail("autonat", &error),
        }
    }
}
