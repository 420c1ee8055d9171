//! Making a lab, step by step. A step that fails takes everything before it down again.

use std::fs::File;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use super::{Lab, Options};
use crate::error::{During as _, LabError};
use crate::namespace::{self, Lifetime};
use crate::plan::{Link, Node, Plan, Role};
use crate::process::Process;
use crate::state::{NodeState, State};
use crate::{Topology, appliance, network, programs, servers};

const SWITCH: &str = "switch";
/// How long a service inside the lab may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A service that was started, to be waited for.
struct Started {
    node: String,
    service: &'static str,
    child: Child,
}

impl Lab {
    /// Makes a lab and waits until all that runs in it answers.
    ///
    /// # Errors
    /// Says which step failed; nothing of the lab is left then.
    pub fn up(topology: Topology, options: &Options) -> Result<Self, LabError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        if !(1..=99).contains(&options.servers) {
            return Err(LabError::BadServers { servers: options.servers });
        }
        programs::check_tools()?;
        let binaries = programs::binaries(options.binaries.as_deref())?;
        let appliance = options.appliance && binaries.join(appliance::DAEMON).is_file();
        let maker = Process::now(std::process::id())
            .ok_or_else(|| LabError::because("reading /proc", "it is not mounted"))?;
        let prefix = options.prefix.clone();
        let state = State { prefix, topology, appliance, binaries, maker, nodes: Vec::new() };
        state.claim()?;
        let mut lab = Self { state, children: Vec::new(), removes: true };
        lab.make(&Plan::new(topology, options.servers, appliance), options)?;
        lab.removes = !options.keep;
        Ok(lab)
    }

    fn make(&mut self, plan: &Plan, options: &Options) -> Result<(), LabError> {
        let lifetime = if options.keep { Lifetime::Kept } else { Lifetime::Owned };
        self.add(SWITCH, Role::Switch, Vec::new(), lifetime)?;
        for node in &plan.nodes {
            self.add(&node.name, node.role, node.links.clone(), lifetime)?;
        }
        self.wire(plan)?;
        let mut started = self.set_up_nodes(plan)?;
        let ready = started.iter_mut().try_for_each(|service| self.wait_for(service));
        self.children.extend(started.into_iter().map(|service| service.child));
        ready
    }

    fn add(&mut self, name: &str, role: Role, links: Vec<Link>, lifetime: Lifetime) -> Result<(), LabError> {
        let holder = namespace::create(&self.state.binaries.join("keel-lab"), name, lifetime)?;
        let pid = holder.id();
        self.children.push(holder);
        self.state.nodes.push(NodeState::new(name, role, links, pid)?);
        self.state.save()
    }

    fn wire(&self, plan: &Plan) -> Result<(), LabError> {
        let mut holders = Vec::new();
        for node in &plan.nodes {
            holders.push((node, self.state.node(&node.name)?.holder.pid));
        }
        self.within(SWITCH, || {
            network::make_bridges(plan)?;
            holders.iter().try_for_each(|(node, holder)| network::plug_in(node, *holder))
        })
        .during(|| "wiring the lab".to_owned())
    }

    /// All nodes at once; the first failure counts, and what was started is collected either way.
    fn set_up_nodes(&mut self, plan: &Plan) -> Result<Vec<Started>, LabError> {
        let lab = &*self;
        let results: Vec<(Vec<Started>, Result<(), LabError>)> = thread::scope(|scope| {
            let nodes: Vec<_> = plan.nodes.iter().map(|node| scope.spawn(|| lab.set_up_node(node))).collect();
            let join = |node: thread::ScopedJoinHandle<'_, _>| match node.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            nodes.into_iter().map(join).collect()
        });
        let (mut all, mut outcome) = (Vec::new(), Ok(()));
        for (started, result) in results {
            all.extend(started);
            outcome = outcome.and(result);
        }
        if outcome.is_err() {
            self.children.extend(all.drain(..).map(|service| service.child));
        }
        outcome.map(|()| all)
    }

    fn set_up_node(&self, node: &Node) -> (Vec<Started>, Result<(), LabError>) {
        let mut started = Vec::new();
        let result = self.set_up_into(node, &mut started).during(|| format!("setting up {}", node.name));
        (started, result)
    }

    fn set_up_into(&self, node: &Node, started: &mut Vec<Started>) -> Result<(), LabError> {
        let name = &node.name;
        self.within(name, || network::set_up(node))?;
        match node.role {
            Role::Server => {
                self.within(name, || servers::prepare(name))?;
                for (service, command) in servers::services(name, &self.state.binaries.join("keel-lab")) {
                    started.push(self.start(name, service, &command)?);
                }
            }
            Role::Balancer if self.state.appliance => {
                self.within(name, || appliance::configure(name, &node.links, name == "lb1"))?;
                let daemon = self.state.binaries.join(appliance::DAEMON).display().to_string();
                started.push(self.start(name, appliance::DAEMON, &[daemon])?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts a service that stays, with its output in a log on the machine.
    fn start(&self, node: &str, service: &'static str, command: &[String]) -> Result<Started, LabError> {
        let path = self.state.log(node, service);
        let log = File::create(&path).during(|| format!("creating {}", path.display()))?;
        let errors = log.try_clone().during(|| "sharing a log".to_owned())?;
        let child = self.within(node, || {
            let mut program = self.command(command)?;
            program.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
            program.spawn().during(|| format!("starting {service} on {node}"))
        })?;
        Ok(Started { node: node.to_owned(), service, child })
    }

    fn wait_for(&self, started: &mut Started) -> Result<(), LabError> {
        let ready = if started.service == appliance::DAEMON { appliance::ready } else { servers::ready };
        let deadline = Instant::now() + PATIENCE;
        while !self.within(&started.node, || Ok(ready()))? {
            let ended = matches!(started.child.try_wait(), Ok(Some(_)));
            if ended || Instant::now() > deadline {
                return Err(self.not_ready(started));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn not_ready(&self, Started { node, service, .. }: &Started) -> LabError {
        let log = std::fs::read_to_string(self.state.log(node, service)).unwrap_or_default();
        let mut end: Vec<&str> = log.lines().rev().take(20).collect();
        end.reverse();
        let log = if end.is_empty() { String::new() } else { format!(":\n{}", end.join("\n")) };
        LabError::NotReady { what: format!("{service} on {node}"), seconds: PATIENCE.as_secs(), log }
    }
}
