//! Floating addresses: one for each virtual address and those added by hand; on the right interface, announced, and
//! taken away when they are no longer wanted. What was added is written down in the run folder, so that a keeld that
//! starts anew knows which addresses are the node's own and which came from it.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    net::IpAddr,
    path::PathBuf,
    time::Instant,
};

use ipnet::IpNet;
use keel_model::{Cluster, Mode4, Service, load_cluster};
use keel_net::{
    AddressOptions, InterfaceAddress, Link, MacAddr, NetError,
    announce::{Announcer, Schedule},
    sysctl,
};
use keel_store::{AtomicFile, RealFs};
use tracing::{info, warn};

use crate::{
    interfaces::chain,
    node::Node,
    placing::{Ground, Place},
};

/// An address we hold.
#[derive(Debug)]
struct Held {
    net: IpNet,
    interface: String,
    /// The device's index, and its Ethernet address as last announced.
    device: (u32, Option<MacAddr>),
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
    /// What the record has, as far as known.
    written: Option<BTreeSet<IpNet>>,
}

impl Floating {
    /// Starts with what an earlier process wrote down.
    pub(crate) fn open(record: PathBuf) -> Self {
        let recorded =
            fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { record, recorded, held: BTreeMap::new(), written: None }
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
    fn write_down(&mut self, wanted: &BTreeMap<IpAddr, Wanted>) {
        let held = self.held.values().map(|h| h.net).chain(self.recorded.iter().copied());
        let nets: BTreeSet<IpNet> = held.chain(wanted.values().map(|w| w.net)).collect();
        if self.written.as_ref() == Some(&nets) {
            return;
        }
        let written = serde_json::to_vec(&nets).map_err(|error| error.to_string()).and_then(|bytes| {
            AtomicFile::on(&RealFs).write(&self.record, &bytes, 0o644).map_err(|error| chain(&error))
        });
        match written {
            Ok(()) => self.written = Some(nets),
            Err(error) => {
                warn!(path = %self.record.display(), "writing down the floating addresses: {error}");
            }
        }
    }

    /// Somebody else took an address off a device. True if it was held there.
    pub(crate) fn lose(&mut self, address: IpAddr, device: u32) -> bool {
        let held_there = self.holds(address, device);
        if held_there {
            self.held.remove(&address);
        }
        held_there
    }

    /// Whether an address is held on this device.
    pub(crate) fn holds(&self, address: IpAddr, device: u32) -> bool {
        self.held.get(&address).is_some_and(|held| held.device.0 == device)
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

/// Whether the kernel has to forward packets of this family: for NAT, and for the servers' own traffic through a gateway
/// address that floats. IPv6 forwarding makes a node deaf to router advertisements, so it is not switched on in passing.
fn forwards(cluster: &Cluster, v4: bool) -> bool {
    let autonat = !cluster.layer4.autonat.is_empty();
    let nat = cluster.services.iter().any(|s| uses_nat(s) && s.address.is_ipv4() == v4);
    let gateway = cluster.floating_ips.iter().any(|floating| floating.address.addr().is_ipv4() == v4);
    nat || autonat && (v4 || gateway)
}

/// What failures about an address are listed under.
fn subject(address: IpAddr) -> String {
    format!("address {address}")
}

impl Node {
    /// Makes the floating addresses what the configuration wants.
    pub(crate) async fn apply_addresses(&mut self) {
        let wanted = wanted(&self.cluster);
        self.floating.write_down(&wanted);
        // Before the addresses: nothing may leave from one by the wrong way, and their announcements say whether this
        // node is a router.
        self.apply_rules().await;
        self.apply_forwarding().await;
        // Again if any moved: others may have been there for its sake.
        for _ in 0..2 {
            match self.hold_all(&wanted).await {
                Ok(moved) => {
                    self.succeed("floating addresses");
                    if !moved {
                        break;
                    }
                }
                Err(error) => {
                    self.fail("floating addresses", &error);
                    break;
                }
            }
        }
        let known = wanted.keys().copied().chain(self.floating.addresses()).map(subject).collect();
        self.forget_failures("address ", &known);
        self.floating.write_down(&BTreeMap::new());
    }

    /// True if one has moved.
    async fn hold_all(&mut self, wanted: &BTreeMap<IpAddr, Wanted>) -> Result<bool, NetError> {
        let mut present = self.netlink.addresses().await?;
        if self.take_away(wanted, &present).await {
            present = self.netlink.addresses().await?;
        }
        let mut there: HashMap<IpAddr, Vec<&InterfaceAddress>> = HashMap::new();
        for address in &present {
            there.entry(address.address.addr()).or_default().push(address);
        }
        let links: Vec<Link> = self.links.values().cloned().collect();
        let ground = Ground::new(&links, &present);
        let mut any_moved = false;
        for (address, wanted) in wanted {
            let there = there.get(address).map_or(&[][..], Vec::as_slice);
            match self.hold(*address, wanted, there, &ground).await {
                Ok(moved) => {
                    self.succeed(&subject(*address));
                    any_moved |= moved;
                }
                Err(error) => self.fail(&subject(*address), &error),
            }
        }
        Ok(any_moved)
    }

    /// Removes what isn't wanted any more. What can't be removed stays ours, to be tried again. True if anything went.
    async fn take_away(&mut self, wanted: &BTreeMap<IpAddr, Wanted>, present: &[InterfaceAddress]) -> bool {
        let held = self.floating.held.values().map(|held| held.net);
        let ours: BTreeSet<IpNet> = held.chain(self.floating.recorded.iter().copied()).collect();
        let mut any = false;
        for net in ours.into_iter().filter(|net| wanted.get(&net.addr()).is_none_or(|w| w.net != *net)) {
            let mut refused = None;
            // An address that somebody else has put elsewhere is theirs, also if it is the same.
            let recorded = self.floating.recorded.contains(&net);
            let ours = |a: &&InterfaceAddress| {
                a.address == net && (recorded || self.floating.holds(net.addr(), a.interface))
            };
            for there in present.iter().filter(ours) {
                if let Err(error) = self.take_off(there).await {
                    refused = Some(error);
                }
            }
            self.floating.held.remove(&net.addr());
            match refused {
                None => {
                    info!(address = %net.addr(), "floating address removed");
                    self.floating.recorded.remove(&net);
                    any = true;
                }
                Some(error) => {
                    self.floating.recorded.insert(net);
                    self.fail(&subject(net.addr()), &error);
                }
            }
        }
        any
    }

    async fn take_off(&self, there: &InterfaceAddress) -> Result<(), NetError> {
        match self.netlink.link_by_index(there.interface).await {
            Ok(link) => self.netlink.remove_address(&link, there.address).await,
            // Gone with its interface.
            Err(NetError::NoSuchInterface { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// True if it has moved.
    async fn hold(
        &mut self,
        address: IpAddr,
        wanted: &Wanted,
        there: &[&InterfaceAddress],
        ground: &Ground<'_>,
    ) -> Result<bool, NetError> {
        let asked = wanted.interface.as_deref();
        let now = self.floating.held.get(&address).map(|held| held.device.0);
        let at =
            there.iter().find(|a| Some(a.interface) == now).or_else(|| there.first()).map(|a| a.interface);
        let Place { link, connected } = ground.place(address, asked, at)?;
        if !there.iter().any(|a| a.interface == link.index) {
            let options = AddressOptions { no_prefix_route: connected, ..AddressOptions::FLOATING };
            self.netlink.add_address(link, wanted.net, options).await?;
            info!(%address, interface = link.name, "floating address added");
        }
        // An address that somebody else has put elsewhere is theirs, also if it is the same.
        let recorded = self.floating.recorded.remove(&wanted.net);
        let ours = |a: &InterfaceAddress| a.address == wanted.net && (recorded || now == Some(a.interface));
        let device = (link.index, link.mac);
        if self.floating.held.get(&address).is_none_or(|held| held.device != device) {
            let announcer = if link.loopback { None } else { Announcer::open(link, address).ok() };
            let held = Held {
                net: wanted.net,
                interface: link.name.clone(),
                device,
                schedule: Schedule::start(Instant::now()),
                announcer,
            };
            self.floating.held.insert(address, held);
        }
        // In both places for a moment: packets that are on their way find it in either.
        let mut moved = false;
        for elsewhere in there.iter().filter(|a| a.interface != link.index && ours(a)) {
            self.take_off(elsewhere).await?;
            info!(%address, to = link.name, "floating address moved");
            moved = true;
        }
        Ok(moved)
    }

    /// Forwarding by the kernel, needed where it carries what the packet path doesn't: the servers' own traffic.
    async fn apply_forwarding(&mut self) {
        let (v4, v6) = (forwards(&self.cluster, true), forwards(&self.cluster, false));
        let wanted = [(sysctl::Family::V4, "IPv4", v4), (sysctl::Family::V6, "IPv6", v6)];
        let mut subjects = BTreeSet::new();
        for (family, name, _) in wanted.into_iter().filter(|(_, _, on)| *on) {
            let subject = format!("forwarding of {name}");
            match self.former.set(family.forwarding(), "1") {
                Ok(()) => self.succeed(&subject),
                Err(error) => self.fail(&subject, &error),
            }
            subjects.insert(subject);
        }
        self.forget_failures("forwarding of ", &subjects);
        if v4 || v6 {
            // One-arm NAT would otherwise tell clients and servers to talk past us.
            for name in self.attachments.keys().flat_map(|name| sysctl::redirects(name)) {
                if let Err(error) = self.former.set(&name, "0") {
                    tracing::debug!(name, "{}", chain(&error));
                }
            }
        }
        self.apply_nftables().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_forwarded_where_servers_need_it_and_nowhere_else() {
        let service = |address: &str, mode: &str| {
            let server = if address.contains(':') { "fd00:2::101" } else { "192.0.2.11" };
            format!(
                "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"{address}\"\nports = \"80\"\nmode = \"{mode}\"\n\
                 [[service.server]]\nname = \"a\"\naddress = \"{server}\"\n"
            )
        };
        let families = |text: &str| {
            let cluster = load_cluster(text).0.unwrap();
            (forwards(&cluster, true), forwards(&cluster, false))
        };
        let autonat = "[layer4]\nautonat = [\"eth0\"]\n";
        let gateway = "[[floating_ip]]\naddress = \"fd00:10::1/64\"\n";
        let (four, six) = ("192.0.2.80", "fd00:2::200");
        assert_eq!(families(&service(four, "dr")), (false, false));
        assert_eq!(families(&service(four, "nat")), (true, false));
        assert_eq!(families(&service(six, "nat")), (false, true));
        assert_eq!(families(&format!("{gateway}{}", service(six, "dr"))), (false, false));
        assert_eq!(families(&format!("{autonat}{}", service(four, "dr"))), (true, false));
        assert_eq!(families(&format!("{autonat}{gateway}{}", service(four, "dr"))), (true, true));
    }
}
