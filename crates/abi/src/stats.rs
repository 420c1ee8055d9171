//! Counters, one set per CPU, summed by userspace.

/// What one server of one service carried.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServerStats {
    /// Connections scheduled to it.
    pub connections: u64,
    /// Packets to the server.
    pub packets_in: u64,
    /// Bytes to the server, from the IP header on.
    pub bytes_in: u64,
    /// Packets from the server (NAT only: replies elsewhere don't pass us).
    pub packets_out: u64,
    /// Bytes from the server, from the IP header on.
    pub bytes_out: u64,
}
const _: () = assert!(size_of::<ServerStats>() == 40);

/// What the program did with everything it saw.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrafficStats {
    /// Packets forwarded.
    pub forwarded: u64,
    /// Packets left to the kernel.
    pub passed: u64,
    /// Answers the program made itself (ICMP errors, resets).
    pub answered: u64,
    /// Start of the current flood window: monotonic coarse nanoseconds.
    pub window_ns: u64,
    /// New flows in the window.
    pub window_flows: u32,
    /// ICMP errors and resets made in the window.
    pub window_answers: u32,
    /// Packets that proved a connection for which the connection table had no room: it stays half open and is
    /// forwarded, but may be evicted.
    pub table_full: u64,
}
const _: () = assert!(size_of::<TrafficStats>() == 48);
