//! What survives a restart: numbered revisions of the configuration, the candidate, the audit journal, secrets.
//!
//! Every change is made so that a process killed, a machine switched off or a disk filled up at any moment leaves
//! either the old or the new state, whole. This crate decides nothing about a configuration's meaning (the text is
//! validated before it comes here), reads no clock (the caller tells the time) and speaks to no other node.

mod atomic;
mod candidate;
mod diff;
mod error;
mod fs;
mod hash;
mod journal;
mod pending;
mod recovery;
mod revision;
mod secret;
mod seed;
mod store;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod mem_fs;
#[cfg(test)]
mod store_tests;

pub use atomic::AtomicFile;
pub use candidate::Candidate;
pub use diff::Diff;
pub use error::{Result, StoreError};
pub use fs::{Fs, FsFile, RealFs};
pub use hash::Hash;
pub use journal::{Entry, Journal, Outcome};
pub use pending::Pending;
pub use recovery::Repair;
pub use revision::Meta;
pub use secret::{Secret, Secrets};
pub use seed::{hash_seed, keep_hash_seed};
pub use store::{Commit, Committed, Paths, Store};
