//! Why a packet was dropped. The number is the index into the drops map; the name is the contract with scripts.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $index:literal, $word:literal;)+) => {
        /// Why a packet was dropped.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum DropReason { $($(#[doc = $doc])+ $name = $index,)+ }

        impl DropReason {
            /// Every reason, in the order of its index.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name in `keel drops`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// One sentence for a person.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

reasons! {
    /// The packet is cut short or its headers contradict each other.
    Malformed = 0, "malformed";
    /// No server of the service takes new connections: all are down, draining, halted or of weight 0.
    NoServer = 1, "no-server";
    /// All eligible servers have reached max_connections.
    Overloaded = 2, "overloaded";
    /// The server's (or its router's) Ethernet address isn't known; keeld is asking for it.
    NoNeighbour = 3, "no-neighbour";
    /// A later fragment came without its first one: its ports are unknown.
    FragmentUnknown = 4, "fragment-unknown";
    /// The packet doesn't fit through the tunnel; the sender was told with an ICMP error where the rate allowed it.
    TooBig = 5, "too-big";
    /// The time to live ran out here; the sender was told where the rate allowed it.
    TtlExpired = 6, "ttl-expired";
    /// Another connection of the same client and port already uses this server's address and port (NAT).
    NatConflict = 7, "nat-conflict";
    /// The server was halted or removed.
    ServerGone = 8, "server-gone";
    /// The connection's table entry is of a service or server that changed under it.
    Stale = 9, "stale";
    /// An ICMP error about a connection that isn't ours.
    IcmpUnrelated = 10, "icmp-unrelated";
    /// The packet could not be resized or rewritten.
    Rewrite = 11, "rewrite-failed";
    /// The interface the packet should leave by isn't known to the dataplane.
    NoInterface = 12, "no-interface";
    /// A map the program can't do without is missing an entry; please report it.
    Internal = 13, "internal";
}
