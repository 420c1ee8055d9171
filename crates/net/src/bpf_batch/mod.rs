//! Whole BPF maps in few system calls: walk, read-and-remove, fill and empty in batches.
//!
//! What aya 0.14 does one key at a time. Sizes come from the kernel's own description of the map, so a caller can
//! pass wrong lengths and get an error, never a torn buffer. Needs Linux 5.6, for arrays with
//! values of each CPU 5.13.

mod entries;
mod map;
mod sys;

pub use entries::Entries;
pub use map::{BatchMap, Shape, Walk};
