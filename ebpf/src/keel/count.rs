//! Counting: drops, traffic, connections per server.
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use keel_abi::{DropReason, Load, ServerStats, TrafficStats};

use crate::{
    atomic,
    maps::{DROPS, LOADS, STATS, TRAFFIC},
};

/// Counts a drop and is the verdict.
#[inline(always)]
pub fn drop(reason: DropReason) -> u32 {
    if let Some(count) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own slot, not preempted by another run of the program.
        unsafe { *count += 1 };
    }
    XDP_DROP
}

/// Counts a packet left to the kernel and is the verdict.
#[inline(always)]
pub fn pass() -> u32 {
    if let Some(totals) = totals() {
        totals.passed += 1;
    }
    XDP_PASS
}

/// This CPU's totals.
#[inline(always)]
pub fn totals<'a>() -> Option<&'a mut TrafficStats> {
    // SAFETY: this CPU's own slot, not preempted by another run of the program.
    TRAFFIC.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// `E2BIG`, what a hash map without room answers (errno-base.h).
const E2BIG: i64 = -7;

/// Looks at why the connection table refused an entry, and counts it if there was no room.
#[inline(always)]
pub fn refused(error: i64) {
    if error == E2BIG
        && let Some(totals) = totals()
    {
        totals.table_full += 1;
    }
}

/// This CPU's counters of a server.
#[inline(always)]
pub fn stats<'a>(server: u32) -> Option<&'a mut ServerStats> {
    // SAFETY: this CPU's own slot, not preempted by another run of the program.
    STATS.get_ptr_mut(server).map(|p| unsafe { &mut *p })
}

/// Which of a server's counts a connection is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Pending,
    Active,
    Inactive,
}

#[inline(always)]
fn field(load: *mut Load, class: Class) -> *mut u64 {
    // SAFETY: `load` points at a live array element; taking a field's address reads nothing.
    unsafe {
        match class {
            Class::Pending => &raw mut (*load).pending,
            Class::Active => &raw mut (*load).active,
            Class::Inactive => &raw mut (*load).inactive,
        }
    }
}

/// Adds to one of a server's counts.
#[inline(always)]
pub fn add(server: u32, class: Class, delta: i64) {
    if let Some(load) = LOADS.get_ptr_mut(server) {
        // SAFETY: aligned word in an array element that is never freed.
        unsafe { atomic::add(field(load, class), delta) };
    }
}

/// Moves a connection from one count to another.
#[inline(always)]
pub fn shift(server: u32, from: Class, to: Class) {
    if from != to {
        add(server, from, -1);
        add(server, to, 1);
    }
}
