//! What the daemon has changed about the machine beside its own things: kernel settings, offloads, neighbours that are
//! kept resolved. Former values are written down before the first change, in the run folder, so that `keeld --detach`
//! puts them back however many daemons have been there since. After a restart of the machine they mean nothing, and the
//! run folder is empty.
use std::{collections::BTreeSet, fs, io, net::IpAddr, path::PathBuf};

use keel_net::{
    NetError, Netlink,
    ethtool::{self, Offload},
    sysctl,
};
use keel_store::{AtomicFile, RealFs};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use crate::interfaces::chain;

/// The name of the file in the run folder.
pub(crate) const FILE: &str = "former.json";

/// A kernel setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Setting {
    name: String,
    former: String,
    ours: String,
}

/// An offload of an interface; ours is the opposite of what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Switched {
    interface: String,
    offload: Offload,
    former: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    settings: Vec<Setting>,
    offloads: Vec<Switched>,
    /// Interface index and address of neighbours that the kernel keeps resolved because we asked it to.
    neighbours: BTreeSet<(u32, IpAddr)>,
}

/// The record with its file.
#[derive(Debug)]
pub(crate) struct Former {
    path: PathBuf,
    record: Record,
    unsaved: bool,
}

impl Former {
    /// Starts with what an earlier process wrote down.
    pub(crate) fn open(path: PathBuf) -> Self {
        let read = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(error.to_string()),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        };
        let record = read.unwrap_or_else(|why| {
            warn!(path = %path.display(), "what was changed on this machine can't be read and won't be put back: {why}");
            Record::default()
        });
        Self { path, record, unsaved: false }
    }

    /// Sets a kernel setting, after noting what it was.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), NetError> {
        let present = sysctl::get(name)?;
        if present == value {
            return Ok(());
        }
        if !self.record.settings.iter().any(|setting| setting.name == name) {
            let (name, ours) = (name.to_owned(), value.to_owned());
            self.record.settings.push(Setting { name, former: present, ours });
            self.unsaved = true;
            self.save();
        }
        sysctl::set(name, value)
    }

    /// Switches an offload, after noting how it was.
    pub(crate) fn switch(&mut self, interface: &str, offload: Offload, on: bool) -> Result<(), NetError> {
        let present = ethtool::is_on(interface, offload)?;
        if present == on {
            return Ok(());
        }
        let known = |s: &Switched| s.interface == interface && s.offload == offload;
        if !self.record.offloads.iter().any(known) {
            self.record.offloads.push(Switched { interface: interface.to_owned(), offload, former: present });
            self.unsaved = true;
            self.save();
        }
        ethtool::switch(interface, offload, on)
    }

    /// Notes that a neighbour is kept resolved. The next [`Former::save`] writes it down: thousands come at once.
    pub(crate) fn keep(&mut self, interface: u32, address: IpAddr) {
        self.unsaved |= self.record.neighbours.insert((interface, address));
    }

    /// Lets go of the neighbours that aren't in use any more.
    pub(crate) async fn keep_only(&mut self, netlink: &Netlink, in_use: &BTreeSet<(u32, IpAddr)>) {
        let over: Vec<_> = self.record.neighbours.difference(in_use).copied().collect();
        for (interface, address) in over {
            if let Err(error) = netlink.release_neighbour(interface, address).await {
                debug!(%address, "{}", chain(&error));
            }
            self.record.neighbours.remove(&(interface, address));
            self.unsaved = true;
        }
    }

    /// Writes down what isn't yet.
    pub(crate) fn save(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        let written = serde_json::to_vec(&self.record).map_err(|error| error.to_string()).and_then(|bytes| {
            AtomicFile::on(&RealFs).write(&self.path, &bytes, 0o600).map_err(|error| chain(&error))
        });
        if let Err(error) = written {
            warn!("what is changed on this machine can't be written down, so it won't be put back: {error}");
        }
    }

    /// Switches an interface's offloads back, the packet program being gone from it.
    pub(crate) fn put_back_offloads(&mut self, interface: &str) {
        let (here, others) =
            self.record.offloads.drain(..).partition(|s: &Switched| s.interface == interface);
        self.record.offloads = others;
        self.unsaved |= !Vec::is_empty(&here);
        put_back_offloads(here);
        self.save();
    }

    /// Puts everything back, the last change first, and forgets it. What was changed again since, by somebody else, is
    /// left as it is.
    pub(crate) async fn put_back(mut self, netlink: &Netlink) {
        self.keep_only(netlink, &BTreeSet::new()).await;
        put_back_offloads(std::mem::take(&mut self.record.offloads));
        for Setting { name, former, ours } in self.record.settings.drain(..).rev() {
            match sysctl::get(&name) {
                Ok(present) if present == ours => match sysctl::set(&name, &former) {
                    Ok(()) => info!(setting = name, value = former, "put back"),
                    Err(error) => warn!(setting = name, "putting it back: {}", chain(&error)),
                },
                Ok(present) => info!(setting = name, "it was changed to {present} since, and stays so"),
                // Its interface is gone.
                Err(error) => debug!(setting = name, "{}", chain(&error)),
            }
        }
        if let Err(error) = AtomicFile::on(&RealFs).remove(&self.path) {
            warn!("{}", chain(&error));
        }
    }
}

fn put_back_offloads(switched: Vec<Switched>) {
    for Switched { interface, offload, former } in switched.into_iter().rev() {
        match ethtool::switch(&interface, offload, former) {
            Ok(()) => info!(interface, ?offload, on = former, "put back"),
            // Most likely the interface is gone.
            Err(error) => debug!(interface, "{}", chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_comes_back_and_a_damaged_one_is_no_reason_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut former = Former::open(path.clone());
        former.keep(3, "10.0.0.1".parse().unwrap());
        assert!(!path.exists(), "nothing is written for a single neighbour");
        former.save();
        assert_eq!(Former::open(path.clone()).record, former.record);
        fs::write(&path, b"{\"settings\": 7}").unwrap();
        assert_eq!(Former::open(path).record, Record::default());
    }
}
