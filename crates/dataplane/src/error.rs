//! What can go wrong between us and the kernel, with the place and the remedy.
use std::{io, path::PathBuf};

/// A failure of the dataplane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// A folder for pins could not be made.
    #[error(
        "creating {path} for the pinned maps; is a bpf file system mounted there? `mount -t bpf bpf /sys/fs/bpf`"
    )]
    PinFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object could not be loaded.
    #[error(
        "loading the packet program into the kernel (needs Linux 6.1 or later, root or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)"
    )]
    Load {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object lacks something that this program needs: they were not built together.
    #[error("the packet program has no {kind} named {name}: it was not built with this keeld")]
    Missing {
        /// "map" or "program".
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map left by another version has another shape.
    #[error(
        "the pinned map {name} has another layout; `keeld --detach` removes it (and drops its connections)"
    )]
    Layout {
        /// The map.
        name: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
    /// Reading or writing a map failed.
    #[error("{action} in the map {map}")]
    Map {
        /// What was being done.
        action: &'static str,
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
    /// An interface could not be made a target for packets.
    #[error("letting packets leave by {interface}")]
    Port {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: aya::maps::xdp::XdpMapError,
    },
    /// The kernel gave no random numbers.
    #[error("asking the kernel for random numbers")]
    Random {
        /// Why.
        #[source]
        source: getrandom::Error,
    },
    /// A batch of a map could not be read.
    #[error("reading the map {map}")]
    Batch {
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        source: keel_net::NetError,
    },
    /// The program could not be attached.
    #[error("attaching the packet program to {interface}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two interfaces whose indices collide.
    #[error(
        "{interface} (index {index}) can't be used: its slot is taken by the interface with index {other}; recreate one of them"
    )]
    InterfaceSlot {
        /// The interface.
        interface: String,
        /// Its index.
        index: u32,
        /// Who has the slot.
        other: u32,
    },
    /// A table is full.
    #[error("no room for more {what} (the limit is {limit})")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// A pin could not be removed.
    #[error("removing {path}")]
    Unpin {
        /// The pin.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Running the program on a frame of our own failed.
    #[error("running the {program} program")]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        #[source]
        source: aya::programs::ProgramError,
    },
}

/// Shorthand.
pub(crate) type Result<T> = std::result::Result<T, DataplaneError>;

/// Names the operation and the map of a map error.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, map: &'static str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, aya::maps::MapError> {
    fn context(self, action: &'static str, map: &'static str) -> Result<T> {
        self.map_err(|source| DataplaneError::Map { action, map, source })
    }
}
