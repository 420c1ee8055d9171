//! Which servers of a service take new connections now: administrative state, health verdicts, weights, priority
//! groups and the panic threshold, in one pure function. It schedules nothing (that is `keel-abi` in the packet path)
//! and checks nothing.

mod members;

pub use members::{Membership, Verdict, members};
