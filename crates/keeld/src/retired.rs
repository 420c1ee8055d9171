//! What removed servers had added to the sums of their services, written down in the run folder so that a sum never
//! falls while the tables live. The servers' own counters need no file, they are in the tables.
use std::{collections::BTreeMap, fs, path::PathBuf};

use keel_dataplane::{Adoption, Dataplane, ServerCounters, Slot};
use keel_store::{AtomicFile, RealFs};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::interfaces::chain;

/// The name of the file in the run folder.
pub(crate) const FILE: &str = "retired.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    connections: u64,
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
}

impl From<ServerCounters> for Counters {
    fn from(all: ServerCounters) -> Self {
        let ServerCounters { connections, packets_in, bytes_in, packets_out, bytes_out } = all;
        Self { connections, packets_in, bytes_in, packets_out, bytes_out }
    }
}

impl From<Counters> for ServerCounters {
    fn from(all: Counters) -> Self {
        let Counters { connections, packets_in, bytes_in, packets_out, bytes_out } = all;
        Self { connections, packets_in, bytes_in, packets_out, bytes_out }
    }
}

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct Retired {
    path: PathBuf,
    written: BTreeMap<Slot, Counters>,
}

impl Retired {
    /// Gives the packet path back what an earlier process wrote down, if its tables are still there.
    pub(crate) fn open(path: PathBuf, adoption: Adoption, dataplane: &mut Dataplane) -> Self {
        let mut written: BTreeMap<Slot, Counters> = BTreeMap::new();
        if adoption == Adoption::Adopted
            && let Ok(bytes) = fs::read(&path)
        {
            written = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                warn!(path = %path.display(), "what removed servers had counted can't be read: {error}");
                BTreeMap::new()
            });
        }
        for (slot, counters) in &written {
            dataplane.add_retired(*slot, (*counters).into());
        }
        Self { path, written }
    }

    /// Writes down what has been added since.
    pub(crate) fn save(&mut self, dataplane: &Dataplane) {
        let now: BTreeMap<Slot, Counters> =
            dataplane.retired().map(|(slot, counters)| (slot, counters.into())).collect();
        if now == self.written {
            return;
        }
        let written = serde_json::to_vec(&now).map_err(|error| error.to_string()).and_then(|bytes| {
            AtomicFile::on(&RealFs).write(&self.path, &bytes, 0o600).map_err(|error| chain(&error))
        });
        // Tried again when there is more to write, not every second.
        self.written = now;
        if let Err(error) = written {
            warn!("what removed servers had counted is lost with this process: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_back_as_they_were() {
        let counters = ServerCounters {
            connections: 1,
            packets_in: 2,
            bytes_in: 3,
            packets_out: 4,
            bytes_out: u64::MAX,
        };
        let text = serde_json::to_string(&BTreeMap::from([(7 as Slot, Counters::from(counters))])).unwrap();
        let read: BTreeMap<Slot, Counters> = serde_json::from_str(&text).unwrap();
        assert_eq!(ServerCounters::from(read[&7]), counters);
    }
}
