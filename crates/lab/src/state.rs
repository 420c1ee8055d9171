//! What a running lab leaves behind for later commands: `/run/evenkeel-lab/PREFIX/state.json`, and who is still alive of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{During as _, LabError};
use crate::plan::{Link, Role};
use crate::process::{Place, Process, end_all_in};
use crate::{Topology, namespace};

const FOLDER: &str = "/run/evenkeel-lab";
const LOGS: &str = "log";
/// How long the processes of a node may take to vanish after they were ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lab that is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The lab's name.
    pub prefix: String,
    /// How it is wired.
    pub topology: Topology,
    /// Whether the balancers run an appliance.
    pub appliance: bool,
    /// The folder of the programs that its nodes find first on their PATH.
    pub binaries: PathBuf,
    /// The process that made it.
    pub(crate) maker: Process,
    /// Its nodes, the switch among them.
    pub nodes: Vec<NodeState>,
}

/// A node that is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// The process that holds its namespaces: `nsenter --target PID --net --mount` works too.
    #[serde(flatten)]
    pub(crate) holder: Process,
    place: Place,
}

impl NodeState {
    pub(crate) fn new(name: &str, role: Role, links: Vec<Link>, pid: u32) -> Result<Self, LabError> {
        let gone = || LabError::because(format!("making the node {name}"), "its process ended at once");
        let holder = Process::now(pid).ok_or_else(gone)?;
        let place = Place::of(&pid.to_string()).ok_or_else(gone)?;
        Ok(Self { name: name.to_owned(), role, links, holder, place })
    }

    pub(crate) fn namespaces(&self) -> Result<namespace::Namespaces, LabError> {
        if !self.holder.is_alive() {
            let reason = "the process that held it is gone; `keel-lab down` removes the rest of the lab";
            return Err(LabError::because(format!("entering {}", self.name), reason));
        }
        namespace::Namespaces::of(self.holder.pid)
    }

    /// Ends what runs in the node. The namespaces go with the last process.
    fn end(&self) -> Result<(), LabError> {
        let open = self.namespaces().ok();
        end_all_in(self.place, open.is_some(), PATIENCE).map_err(|left| {
            LabError::because(format!("removing the node {}", self.name), format!("processes {left:?} stay"))
        })
    }
}

impl State {
    /// Reads the state of a lab that is up.
    pub(crate) fn load(prefix: &str) -> Result<Self, LabError> {
        let unknown = || LabError::Unknown { prefix: prefix.to_owned() };
        check_prefix(prefix)?;
        let text = fs::read(folder(prefix).join("state.json")).map_err(|_| unknown())?;
        serde_json::from_slice(&text).map_err(|_| unknown())
    }

    pub(crate) fn save(&self) -> Result<(), LabError> {
        self.write(&folder(&self.prefix))
    }

    fn write(&self, folder: &Path) -> Result<(), LabError> {
        let (new, file) = (folder.join("state.new"), folder.join("state.json"));
        let text = serde_json::to_vec_pretty(self).during(|| "describing the lab".to_owned())?;
        let write = || fs::write(&new, text).and_then(|()| fs::rename(&new, &file));
        write().during(|| format!("writing {}", file.display()))
    }

    /// Takes the lab's name.
    pub(crate) fn claim(&self) -> Result<(), LabError> {
        check_prefix(&self.prefix)?;
        sweep();
        // Complete before it has its name, so that nobody finds a lab without a state.
        let new = PathBuf::from(FOLDER).join(format!(".{}-{}", self.prefix, self.maker.pid));
        fs::create_dir_all(new.join(LOGS)).during(|| format!("creating {}", new.display()))?;
        self.write(&new)?;
        fs::rename(&new, folder(&self.prefix)).map_err(|_| {
            let _ = fs::remove_dir_all(&new);
            LabError::Exists { prefix: self.prefix.clone() }
        })
    }

    /// Whether anything of it still runs, or it is still being made.
    fn is_alive(&self) -> bool {
        self.maker.is_alive() || self.nodes.iter().any(|node| node.holder.is_alive())
    }

    /// The log of a service, on the machine.
    pub(crate) fn log(&self, node: &str, service: &str) -> PathBuf {
        folder(&self.prefix).join(LOGS).join(format!("{node}-{service}.log"))
    }

    /// Ends every node and removes the lab's files.
    pub(crate) fn remove(&self) -> Result<(), LabError> {
        let failures: Vec<LabError> = self.nodes.iter().filter_map(|node| node.end().err()).collect();
        let folder = folder(&self.prefix);
        if let Some(failure) = failures.into_iter().next() {
            return Err(failure);
        }
        fs::remove_dir_all(&folder).during(|| format!("removing {}", folder.display()))?;
        // Only the last lab's end empties it.
        let _ = fs::remove_dir(FOLDER);
        Ok(())
    }

    pub(crate) fn node(&self, name: &str) -> Result<&NodeState, LabError> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| {
            let nodes: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            LabError::NoNode { prefix: self.prefix.clone(), node: name.to_owned(), nodes: nodes.join(", ") }
        })
    }
}

/// All labs that are up, by name.
pub fn running() -> Vec<State> {
    let mut labs = all();
    labs.retain(State::is_alive);
    labs.sort_by(|a, b| a.prefix.cmp(&b.prefix));
    labs
}

/// Removes what is left of labs whose processes were ended from elsewhere.
fn sweep() {
    for dead in all().iter().filter(|lab| !lab.is_alive()) {
        // Somebody else may be sweeping too.
        let _ = dead.remove();
    }
}

fn all() -> Vec<State> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| State::load(&name).ok()).collect()
}

/// A lab's files on the machine.
fn folder(prefix: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(prefix)
}

fn check_prefix(prefix: &str) -> Result<(), LabError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if prefix.is_empty() || prefix.len() > 32 || !prefix.chars().all(fits) {
        return Err(LabError::BadPrefix { prefix: prefix.to_owned() });
    }
    Ok(())
}
