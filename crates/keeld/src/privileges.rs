//! What the daemon may do: it gives up everything that it doesn't need, so that whoever finds a hole in it has less.
//!
//! Capabilities belong to threads. What programs it starts may have is limited before there is a second thread; each
//! further thread gives up its own when it starts, the first one when the daemon is ready.
use anyhow::Result;
use keel_net::require::{self, Capability};
use rustix::{
    process::geteuid,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, configure_capability_in_ambient_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use tracing::{debug, warn};

/// Without these it doesn't start; with what each is needed for, completing "it needs it to …".
const NEEDED: [(Capability, &str); 4] = [
    (
        Capability::NetAdmin,
        "manage addresses, routes, neighbours and nftables, and to attach the packet program",
    ),
    (Capability::NetRaw, "announce floating addresses"),
    (Capability::Bpf, "load the packet program and fill its maps"),
    (Capability::Perfmon, "have the packet program verified, which compares pointers"),
];

/// The kernel hands the table of a service out again to nobody else (`BPF_MAP_GET_FD_BY_ID`).
const WANTED: (Capability, &str) = (
    Capability::SysAdmin,
    "read the tables of services back: without it `keel explain` fails, and a start builds every table anew",
);

/// What is kept.
fn kept() -> CapabilitySet {
    CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW
        | CapabilitySet::BPF
        | CapabilitySet::PERFMON
        | CapabilitySet::SYS_ADMIN
}

/// Refuses to start without a capability that is needed, naming it with the remedy.
pub(crate) fn check() -> Result<()> {
    for (capability, purpose) in NEEDED {
        require::capability(capability, purpose)?;
    }
    if let Err(error) = require::capability(WANTED.0, WANTED.1) {
        warn!("{error}");
    }
    Ok(())
}

/// Limits this process and all that it starts to what is kept. Call it before there is a second thread.
pub(crate) fn limit() {
    for capability in CapabilitySet::all().difference(kept()).iter() {
        // One that this kernel doesn't know is in no set.
        if capability_is_in_bounding_set(capability).unwrap_or(false)
            && let Err(error) = remove_capability_from_bounding_set(capability)
        {
            debug!(?capability, "it stays in the bounding set: {error}");
        }
    }
    if let Err(error) = set_no_new_privs(true) {
        warn!("programs that this process starts may gain privileges: {error}");
    }
}

/// Gives everything up, for good: for a process that runs what others have written.
pub(crate) fn give_up() -> Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let nothing = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: nothing, permitted: nothing, inheritable: nothing })?;
    Ok(())
}

/// Gives up what this thread doesn't need.
pub(crate) fn shed() {
    if let Err(error) = try_to_shed() {
        warn!("a thread keeps capabilities that it doesn't need: {error}");
    }
}

fn try_to_shed() -> rustix::io::Result<()> {
    let permitted = capabilities(None)?.permitted.intersection(kept());
    // A program started by root has what the bounding set allows. Started by anybody else, `nft` has only what it
    // inherits.
    let inheritable = if geteuid().is_root() {
        CapabilitySet::empty()
    } else {
        permitted.intersection(CapabilitySet::NET_ADMIN)
    };
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?;
    if !inheritable.is_empty() {
        configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true)?;
    }
    Ok(())
}
