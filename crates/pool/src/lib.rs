//! Which servers of a service take new connections now. From answers to verdicts (one check over time, several checks
//! together), from verdicts, administrative state, weights, priority groups and thresholds to members, in pure functions
//! that are told the time. It schedules nothing (that is `keel-abi` in the packet path) and checks nothing (that is
//! `keel-probe`).

mod combine;
mod handshakes;
mod members;
mod outcome;
mod ramp;
mod watch;

pub use combine::combine;
pub use handshakes::Handshakes;
pub use members::{Membership, Outlook, Verdict, members};
pub use outcome::Outcome;
pub use ramp::{next_step, ramp};
pub use watch::{FIRST_INTERVAL, MOST_DOUBLINGS, Rhythm, Watch, first_check};
