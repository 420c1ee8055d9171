//! What the end-to-end tests share: an appliance in a lab, its clients, load that counts every failure, packets written by
//! hand. Whatever goes wrong in here is a failed test, so it panics instead of returning errors.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod asking;
mod capture;
mod daemon;
mod flood;
mod load;
mod raw;
mod rig;
mod text;
mod turns;

use std::time::{Duration, Instant};

pub use asking::Answers;
pub use capture::{Capture, Frame};
pub use flood::Flood;
pub use load::{Load, Plan, Tally};
pub use raw::{Packet, checksum};
pub use rig::{Rig, Said};
pub use text::{Service, config};

/// One patience for everything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Waits until there is something.
pub fn eventually_some<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
