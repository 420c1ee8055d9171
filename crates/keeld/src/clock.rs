//! The clocks: wall time for revisions, the kernel's coarse monotonic one for what the packet path has stamped.
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Wall time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// `CLOCK_MONOTONIC_COARSE` in nanoseconds, the packet path's clock.
pub(crate) fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |time| time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs())
}
