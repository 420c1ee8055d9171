//! The daemon's life: start on whatever an earlier one left behind, follow the kernel and the clock, stop without taking
//! anything away.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    fs,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use keel_dataplane::{Adoption, Dataplane, Options, Reading, ServerId, Sizes};
use keel_model::{Cluster, Node as NodeConfig, Problem, load_cluster, load_node};
use keel_net::{Netlink, require};
use keel_store::{Journal, RealFs, Store};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::alerts::{self, Alerts};
use crate::health;
use crate::{
    addresses::{Floating, floating_of},
    args::Args,
    clock,
    control::App,
    fallback::Fallback,
    follow::{Noted, follow},
    former::{self, Former},
    interfaces::chain,
    lookup,
    names::{self, Names},
    node::{Node, Read, check},
    privileges,
    rates::Sampler,
    retired::{self, Retired},
    seed,
};

/// How often counters are read.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often wanted next hops and due announcements are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often every next hop is resolved anew, whatever events said.
const RESOLVE: Duration = Duration::from_secs(30);
/// Of these so many in a second at most: with thousands of servers it takes longer to come round.
const RESOLVED: usize = 100;
/// How often interfaces, routes and addresses are looked at, whatever events said.
const KEEP: Duration = Duration::from_secs(30);

pub(crate) type Shared = Arc<Mutex<Node>>;

/// Runs until told to stop.
pub(crate) async fn run(args: Args, scripts: Option<UnixStream>) -> Result<()> {
    for folder in [&args.config_dir, &args.state_dir, &args.run_dir] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    check_kernel(&args)?;
    let listener =
        keel_api::bind(&keel_api::socket_path(&args.run_dir)).context("opening the control socket")?;
    let watch = Netlink::watch().context("following the kernel's network tables")?;
    let (node, checking) = start(&args, scripts).await?;
    // The socket is bound and has its group; nothing that follows needs more.
    privileges::shed();
    let node: Shared = Arc::new(Mutex::new(node));
    let pid = args.run_dir.join("keeld.pid");
    fs::write(&pid, format!("{}\n", std::process::id()))
        .with_context(|| format!("writing {}", pid.display()))?;

    // None of these ever ends by itself. If one does (it panicked), the whole daemon does, to be started anew: the packet
    // path doesn't need it meanwhile, and half a daemon would look healthy.
    let noted = Noted::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(noted.clone(), watch));
    tasks.spawn(tick(node.clone(), noted));
    tasks.spawn(sample(node.clone()));
    tasks.spawn(lookup::follow_names(node.clone()));
    tasks.spawn(health::follow(node.clone()));
    tasks.spawn(async move { drop(checking.await) });
    let broken = Arc::new(AtomicBool::new(false));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = broken.clone();
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = tasks.join_next() => told.store(true, Ordering::Relaxed),
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), "ready");
    keel_api::serve(listener, Arc::new(App::new(node.clone())), shutdown)
        .await
        .context("serving the control socket")?;
    alerts::finish(&node).await;
    node.lock().await.save_health_now().await;
    info!("stopped; packets are forwarded on (`keeld --detach` ends that)");
    remove(&pid);
    remove(&keel_api::socket_path(&args.run_dir));
    if broken.load(Ordering::Relaxed) {
        bail!("a part of the daemon ended unexpectedly (the log says why); start it again");
    }
    Ok(())
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(path = %path.display(), "{error}");
    }
}

fn check_kernel(args: &Args) -> Result<()> {
    require::kernel(6, 1, "the packet program")?;
    privileges::check()?;
    let parent = args.bpf_dir.parent().unwrap_or(&args.bpf_dir);
    require::bpf_filesystem(if args.bpf_dir.exists() { &args.bpf_dir } else { parent })?;
    Ok(())
}

async fn start(args: &Args, scripts: Option<UnixStream>) -> Result<(Node, oneshot::Receiver<Infallible>)> {
    let (mut store, repairs) = Store::open_at(&args.config_dir, &args.state_dir, clock::now())
        .context("opening the configuration's revisions")?;
    let journal = Journal::open(RealFs, &args.state_dir).context("opening the journal")?;
    let config = read_node(&store)?;
    let netlink = Netlink::connect().context("reaching the kernel's network tables")?;
    let floating = Floating::open(args.run_dir.join("addresses.json"));
    let resolver = Arc::new(lookup::Resolver::new(lookup::Files::of_the_system(), config.dns.clone()));
    let (cluster, adopted) = read_cluster(&mut store, &config, &netlink, &floating).await?;
    let options = Options { bpf_dir: args.bpf_dir.clone(), sizes: sizes(&cluster) };
    let (mut dataplane, adoption) = Dataplane::open(&options).context("starting the packet path")?;
    match adoption {
        Adoption::Fresh => info!("packet path loaded"),
        Adoption::Adopted => info!("packet path taken over with its connections"),
        Adoption::Succeeds { layout } => warn!(
            "the packet path of another version (layout {layout}) is replaced: its interfaces change over without a \
             gap, its connections are placed anew, by their services' rings"
        ),
    }
    let retired = Retired::open(args.run_dir.join(retired::FILE), adoption, &mut dataplane);
    seed::give_seed(&mut dataplane, &args.state_dir)?;
    let mut node = Node {
        store,
        cluster,
        config,
        dataplane,
        in_force: keel_dataplane::Desired::default(),
        nftables: None,
        fallback: Fallback::start(),
        netlink,
        links: BTreeMap::new(),
        met: BTreeSet::new(),
        attachments: BTreeMap::new(),
        names: Names::open(args.state_dir.join("names.json")),
        resolver,
        floating,
        former: Former::open(args.run_dir.join(former::FILE)),
        hops: HashMap::new(),
        unreachable: BTreeSet::new(),
        reachability_changed: false,
        ways_changed: false,
        next_resolved: 0,
        sampler: Sampler::default(),
        retired,
        health: health::Health::open(args.config_dir.clone(), &args.state_dir, scripts),
        alerts: Alerts::open(&args.config_dir),
        journal,
        stuck: HashMap::new(),
        last_sweep: keel_dataplane::Swept::default(),
        failures: BTreeMap::new(),
        started: Instant::now(),
    };
    node.note_repairs(&repairs);
    if let Some(done) = adopted {
        node.note_adopted(&done);
    }
    node.set_up_interfaces().await;
    node.apply_routes().await;
    // Names first: a server whose name isn't known yet would lose its connections.
    let unknown = node.names.unknown(names::wanted(&node.cluster));
    let answered = lookup::look_up_all(&node.resolver, unknown, lookup::AT_START).await;
    node.names.take(answered, clock::now(), Instant::now());
    node.names.keep(&names::wanted(&node.cluster), clock::now());
    node.configure_health();
    node.configure_alerts();
    node.begin_to_watch();
    node.put_in_force().await.context("filling the packet path's maps")?;
    node.names.applied();
    node.resolve_new_hops().await;
    node.former.save();
    // Before the interfaces: one that changes over from another version must not meet the kernel's refusals in between.
    node.dataplane.set_active(true).context("switching the packet path on")?;
    node.attach_interfaces();
    node.remove_predecessors();
    let checking = node.health.start().context("starting the health checks")?;
    // After the packet path: a client that finds an address must not meet the kernel's refusals either.
    node.apply_addresses().await;
    Ok((node, checking))
}

fn sizes(cluster: &Cluster) -> Sizes {
    let settings = &cluster.layer4;
    Sizes {
        connections: settings.connections,
        half_open: settings.half_open,
        persistence: settings.persistence_entries,
        fragments: settings.fragments,
    }
}

fn read_node(store: &Store) -> Result<NodeConfig> {
    let text = store.node_text()?;
    let (node, problems) = load_node(&text);
    report("node.toml", &problems);
    node.with_context(|| refusal("node.toml", &problems))
}

/// The running configuration, with an edit made on disk since the last revision if it is in order.
async fn read_cluster(
    store: &mut Store,
    config: &NodeConfig,
    netlink: &Netlink,
    floating: &Floating,
) -> Result<(Cluster, Option<keel_store::Committed>)> {
    // What runs was checked when it was committed: its addresses are ours even if the note about them is lost.
    let mut ours = floating.addresses();
    ours.extend(floating_of(store.running_text()));
    let present = netlink.addresses().await.unwrap_or_default();
    let own: Vec<_> = present.iter().map(|a| a.address.addr()).filter(|a| !ours.contains(a)).collect();
    let edited = store.edited_on_disk().unwrap_or_else(|error| {
        error!("{}; the last good revision, {}, stays in force", chain(&error), store.current().number);
        None
    });
    if let Some(edited) = edited {
        let (cluster, problems) = check(Read::new(edited), config, &own);
        report("cluster.toml", &problems);
        match cluster {
            Some(cluster) => {
                let adopted = store.adopt("root", "disk", clock::now())?;
                info!(
                    revision = store.current().number,
                    "cluster.toml was edited on disk; the edit is in force"
                );
                return Ok((cluster, adopted));
            }
            None => error!(
                "{}; the last good revision, {}, stays in force",
                refusal("cluster.toml", &problems),
                store.current().number
            ),
        }
    }
    let (cluster, problems) = check(Read::new(store.running_text().to_owned()), config, &own);
    report("cluster.toml", &problems);
    if let Some(cluster) = cluster {
        return Ok((cluster, None));
    }
    // Something around it has changed (an interface got a virtual address, say). Better most services than none.
    match load_cluster(store.running_text()) {
        (Some(cluster), _) => {
            warn!(
                "revision {} doesn't fit this node any more (see above); it runs as far as it can",
                store.current().number
            );
            Ok((cluster, None))
        }
        (None, problems) => bail!("{}", refusal("cluster.toml", &problems)),
    }
}

fn report(file: &str, problems: &[Problem]) {
    for problem in problems {
        let line = problem.line.map_or_else(String::new, |line| format!(" line {line}"));
        if problem.is_error() {
            error!("{file}{line}: {}: {}", problem.path, problem.text);
        } else {
            warn!("{file}{line}: {}: {}", problem.path, problem.text);
        }
    }
}

fn refusal(file: &str, problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|p| p.is_error()).count();
    format!(
        "{file} has {errors} error(s), listed above; `keel config validate FILE` checks it without a daemon"
    )
}

/// What must not wait: next hops packets were dropped for, announcements, clients that fail.
async fn tick(node: Shared, noted: Noted) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut node = node.lock().await;
        node.act_on(noted.take()).await;
        node.floating.announce(Instant::now());
        if !node.dataplane.wanted_paths().is_empty() {
            node.resolve_pending().await;
        }
        node.follow_reachability().await;
        node.follow_ways();
        node.watch_handshakes();
        node.former.save();
    }
}

/// Counters, housekeeping, roll-backs.
async fn sample(node: Shared) {
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let mut kept = Instant::now();
    loop {
        ticks.tick().await;
        let mut node = node.lock().await;
        node.follow_the_store().await;
        node.retry_services().await;
        node.follow_files();
        node.save_health();
        node.watch_fallbacks().await;
        node.read_drops();
        // The larger the tables, the longer a walk: every second for a few connections, every five for very many.
        let entries = node.last_sweep.found.established + node.last_sweep.found.half_open;
        if swept.elapsed() >= Duration::from_secs(if entries < 100_000 { 1 } else { 5 }) {
            node.sweep();
            swept = Instant::now();
            let node = &mut *node;
            node.retired.save(&node.dataplane);
        } else if let Ok(readings) = node.dataplane.readings() {
            node.take_readings(Instant::now(), &readings);
        }
        if kept.elapsed() >= KEEP {
            node.keep_machine().await;
            if node.fallback.lacking {
                node.apply_services().await;
            }
            kept = Instant::now();
        }
        node.resolve_pending().await;
        let servers = node.remotes().len();
        node.resolve_some(servers.div_ceil(RESOLVE.as_secs() as usize).min(RESOLVED)).await;
    }
}

impl Node {
    fn take_readings(&mut self, now: Instant, readings: &HashMap<ServerId, Reading>) {
        for (id, reading) in readings {
            self.sampler.server(*id, reading.counters, now);
        }
    }

    fn read_drops(&mut self) {
        let now = Instant::now();
        for (reason, packets) in self.dataplane.drops().unwrap_or_default() {
            self.sampler.drop_reason(reason.name(), packets, now);
        }
    }

    fn sweep(&mut self) {
        let began = Instant::now();
        match self.dataplane.sweep(clock::monotonic_ns()) {
            Ok(mut swept) => {
                // A walk over large tables takes a while: these are from its beginning.
                self.take_readings(began, &std::mem::take(&mut swept.readings));
                for id in &swept.released {
                    self.sampler.forget(*id);
                }
                self.stuck.clone_from(&swept.stuck);
                self.last_sweep = swept;
                self.suspect(&self.stuck.keys().copied().collect());
                self.succeed("housekeeping");
            }
            Err(error) => {
                self.fail("housekeeping", &error);
                // Rates must not stand still for that.
                if let Ok(readings) = self.dataplane.readings() {
                    self.take_readings(Instant::now(), &readings);
                }
            }
        }
    }
}
