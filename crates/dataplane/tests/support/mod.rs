//! What the tests of the packet path share: a loaded program with maps of its own, in a network namespace of its own,
//! and frames to give it.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part; a bench that does not come up fails the test"
)]

mod bpf_fs;
pub mod packet;
mod rig;
pub mod service;

pub use bpf_fs::BpfFs;
pub use rig::{
    BACK_MAC, CLIENT_MAC, FRONT_MAC, ROUTER_MAC, Rig, eventually, key, now_ns, server_mac, stay_on_cpu,
};
