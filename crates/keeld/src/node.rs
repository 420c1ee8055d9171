//! Everything this node knows and holds, behind one lock.
use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use keel_abi::Addr;
use keel_dataplane::{Dataplane, DataplaneError, Desired, ServerId, Stuck, compile};
use keel_model::{Cluster, Node as NodeConfig, Problem, check_together, load_cluster};
use keel_net::{Link, Netlink, nft::Rules};
use keel_store::{Journal, RealFs, Secrets, Store};

use crate::{
    addresses::Floating, alerts::Alerts, fallback::Fallback, former::Former, health::Health,
    interfaces::chain, lookup::Resolver, names::Names, rates::Sampler, retired::Retired,
};

/// The node's state.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) cluster: Cluster,
    pub(crate) config: NodeConfig,
    pub(crate) dataplane: Dataplane,
    /// What its maps hold.
    pub(crate) in_force: Desired,
    pub(crate) netlink: Netlink,
    /// Our interfaces, by index.
    pub(crate) links: BTreeMap<u32, Link>,
    /// Those that have been set up once.
    pub(crate) met: BTreeSet<u32>,
    /// How the packet program sits on them.
    pub(crate) attachments: BTreeMap<String, Attachment>,
    /// Addresses of servers given by name.
    pub(crate) names: Names,
    /// Looks them up.
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) floating: Floating,
    /// What was changed on this machine, to be put back.
    pub(crate) former: Former,
    pub(crate) hops: HashMap<IpAddr, crate::hops::Hop>,
    /// Servers whose next hop doesn't answer, and whether that has changed since the maps were last written.
    pub(crate) unreachable: BTreeSet<IpAddr>,
    pub(crate) reachability_changed: bool,
    /// The way to a server has changed since checks were told.
    pub(crate) ways_changed: bool,
    /// Where [`Node::resolve_some`] goes on.
    pub(crate) next_resolved: usize,
    pub(crate) sampler: Sampler,
    pub(crate) retired: Retired,
    pub(crate) health: Health,
    /// Our rules of nftables that are in force; not known at the start.
    pub(crate) nftables: Option<Rules>,
    pub(crate) fallback: Fallback,
    pub(crate) alerts: Alerts,
    pub(crate) journal: Journal<RealFs>,
    /// Handshakes that don't come to an end, from the last sweep.
    pub(crate) stuck: HashMap<ServerId, Stuck>,
    pub(crate) last_sweep: keel_dataplane::Swept,
    /// What the configuration wanted and the network refused, by subject.
    pub(crate) failures: BTreeMap<String, String>,
    pub(crate) started: Instant,
}

/// The packet program on an interface.
#[derive(Debug, Clone)]
pub(crate) enum Attachment {
    Attached { mode: keel_dataplane::AttachMode, refused_native: Option<String>, warning: Option<String> },
    Failed { why: String },
    Off,
}

impl Node {
    /// What the layer-4 services need in the maps now.
    pub(crate) fn desired(&self) -> Desired {
        self.desired_of(&self.cluster)
    }

    /// What another configuration would need.
    pub(crate) fn desired_of(&self, cluster: &Cluster) -> Desired {
        compile(cluster, self.names.addresses(), |service| self.outlook(service))
    }

    /// Puts the services in force.
    pub(crate) async fn put_in_force(&mut self) -> Result<(), DataplaneError> {
        let mut desired = self.desired();
        let ways = self.ways_to_fallbacks(&desired);
        // Before clients are sent there, and closed when no more are.
        let led = self.open_fallbacks(&ways).await;
        desired.answer_here_only(&led);
        self.dataplane.apply(&desired)?;
        self.in_force = desired;
        self.close_fallbacks(&ways).await;
        Ok(())
    }

    /// The same, and what is refused is listed with the node's failures and tried again.
    pub(crate) async fn apply_services(&mut self) {
        match self.put_in_force().await {
            Ok(()) => self.succeed("packet path"),
            Err(error) => self.fail("packet path", &error),
        }
    }

    /// Where packets to the remote addresses in use have to go.
    pub(crate) fn remotes(&self) -> Vec<Addr> {
        self.dataplane.shadow().paths.keys().copied().collect()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Reads secrets of the configuration by name; none if there is no such file.
pub(crate) fn secrets(config_dir: &Path) -> impl Fn(&str) -> Result<Option<Vec<u8>>, String> {
    // Opening makes the folder and writes through to the disk, which nobody who reads nothing should wait for.
    let (opened, config_dir) = (OnceCell::new(), config_dir.to_owned());
    move |name| match opened.get_or_init(|| Secrets::open(RealFs, &config_dir)) {
        Ok(secrets) => {
            let read = secrets.read(name).map_err(|error| chain(&error))?;
            Ok(read.map(|secret| secret.expose().to_vec()))
        }
        Err(error) => Err(chain(error)),
    }
}

/// A configuration that was read, and checked by itself: large ones take a while, so no step of a change does it again.
pub(crate) struct Read {
    pub(crate) text: String,
    pub(crate) cluster: Option<Cluster>,
    problems: Vec<Problem>,
}

impl Read {
    pub(crate) fn new(text: String) -> Self {
        let (cluster, problems) = load_cluster(&text);
        Self { text, cluster, problems }
    }
}

/// Checks a configuration against this node: all problems, and the cluster if none is an error.
pub(crate) fn check(read: Read, node: &NodeConfig, own: &[IpAddr]) -> (Option<Cluster>, Vec<Problem>) {
    let Read { cluster, mut problems, .. } = read;
    let Some(cluster) = cluster else { return (None, problems) };
    problems.extend(check_together(&cluster, node));
    let services = cluster.services.iter().enumerate().map(|(i, service)| ("service", i, service.address));
    let floating = cluster.floating_ips.iter().enumerate().map(|(i, f)| ("floating_ip", i, f.address.addr()));
    for (kind, i, address) in services.chain(floating) {
        let path = format!("{kind}[{i}].address");
        if own.contains(&address) && !problems.iter().any(|p| p.path == path) {
            let text = format!(
                "{address} is an address of one of this machine's own interfaces: a virtual address must be free to move, \
                 so choose another one"
            );
            problems.push(Problem::error(path, text));
        }
    }
    let floats = |ip: IpAddr| {
        cluster.services.iter().any(|service| service.address == ip)
            || cluster.floating_ips.iter().any(|floating| floating.address.addr() == ip)
    };
    for (i, service) in cluster.services.iter().enumerate() {
        let path = format!("service[{i}].fallback");
        if let Some(fallback) =
            service.fallback.filter(|fallback| service.layer() == 4 && !fallback.ip().is_loopback())
            && (own.contains(&fallback.ip()) || floats(fallback.ip()))
            && !problems.iter().any(|p| p.path == path)
        {
            let local = if fallback.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            let text = format!(
                "{fallback} is on this node itself, where layer 4 forwards nothing to: let the program listen on the loopback and \
                 write \"{local}:{}\"",
                fallback.port()
            );
            problems.push(Problem::error(path, text));
        }
    }
    let refused = problems.iter().any(Problem::is_error);
    ((!refused).then_some(cluster), problems)
}
