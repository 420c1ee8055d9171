//! `aya::Pod` for every type that stands in a map.
use crate::*;

macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, made of integers and arrays of integers only, no implicit padding (the size
            // assertion beside the definition proves it): any byte pattern is a valid value.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

pod!(
    Addr,
    Chunk,
    Config,
    Connection,
    FlowKey,
    FragmentKey,
    FragmentPorts,
    Interface,
    LeaseSet,
    MarkKeys,
    Load,
    Member,
    NatServerKey,
    NatServerValue,
    Path,
    PersistKey,
    PersistValue,
    PortKey,
    ReapRecord,
    Server,
    ServerStats,
    TableHeader,
    TrafficStats,
);
