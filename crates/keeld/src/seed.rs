//! The seed of the packet path's hashes: random, one for each installation, kept in the state folder. Tables that an
//! earlier process left keep the seed that their connections were placed with.
use std::path::Path;

use anyhow::{Context, Result};
use keel_dataplane::Dataplane;
use keel_store::{RealFs, hash_seed, keep_hash_seed};
use tracing::{info, warn};

use crate::interfaces::chain;

/// Gives the packet path its seed, unless it has services already.
pub(crate) fn give_seed(dataplane: &mut Dataplane, state_dir: &Path) -> Result<()> {
    let kept = hash_seed(&RealFs, state_dir).unwrap_or_else(|error| {
        warn!("{}; a new one is made", chain(&error));
        None
    });
    let seed = match kept {
        Some(seed) => seed,
        None => new_seed(dataplane, state_dir)?,
    };
    let given = dataplane.use_seed(seed).context("giving the packet path its hash seed")?;
    if !given {
        info!(
            "the packet path has connections placed with another hash seed and keeps it; `keeld --detach` ends that"
        );
    }
    Ok(())
}

/// The one in use if it is anybody's own, else a random one; kept for the next start.
fn new_seed(dataplane: &Dataplane, state_dir: &Path) -> Result<u64> {
    let seed = match dataplane.own_seed().context("reading the packet path's hash seed")? {
        Some(seed) => seed,
        None => random()?,
    };
    // A full disk is no reason not to start: the tables have the seed, and the next start keeps it.
    if let Err(error) = keep_hash_seed(&RealFs, state_dir, seed) {
        warn!("the hash seed is not kept: {}", chain(&error));
    }
    Ok(seed)
}

fn random() -> Result<u64> {
    loop {
        // Zero means that there is none yet.
        match getrandom::u64().context("asking the kernel for random numbers")? {
            0 => {}
            seed => return Ok(seed),
        }
    }
}
