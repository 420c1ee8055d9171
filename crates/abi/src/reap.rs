//! Orders to the packet path's housekeeping program: connections are only ever removed, and a server's counts only
//! ever changed, by the packet path's own code, so the counts are exact whoever removes an entry.
//!
//! `keeld` runs the program with a frame made of an Ethernet header of type [`REAP_ETHERTYPE`] and records.
use crate::FlowKey;

/// Ethernet type of the order (IEEE 802 local experimental 1): never on a wire, the program is attached nowhere.
pub const REAP_ETHERTYPE: u16 = 0x88b5;
/// Records in one order.
pub const REAP_BATCH: usize = 48;

/// Values of [`ReapRecord::kind`].
pub mod reap_kind {
    /// Nothing (the rest of a short order).
    pub const NONE: u32 = 0;
    /// Remove the connection if it is still idle.
    pub const EXPIRE: u32 = 1;
    /// Remove the connection whatever it does.
    pub const REMOVE: u32 = 2;
    /// Add `argument` (signed) to the pending count of server `server`: corrects what evictions lost.
    pub const PENDING: u32 = 3;
    /// The same for its active connections.
    pub const ACTIVE: u32 = 4;
    /// The same for its inactive connections.
    pub const INACTIVE: u32 = 5;
}

/// One order.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReapRecord {
    /// The forward key.
    pub key: FlowKey,
    /// See [`reap_kind`].
    pub kind: u32,
    /// Idle limit in seconds (expire), or a signed number (corrections of counts).
    pub argument: u32,
    /// Server (corrections of counts).
    pub server: u32,
    /// Always zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<ReapRecord>() == 56);
