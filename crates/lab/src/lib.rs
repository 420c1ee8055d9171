//! Laboratories out of network namespaces: a client, a router, balancers and real servers, joined by veth and bridges, for the
//! demo, the tests and the benches. It knows the appliance only as programs that it starts; nothing it makes or
//! sends leaves the lab, and the host's own network is not touched.

mod address;
mod appliance;
mod error;
mod lab;
mod mounts;
mod namespace;
mod network;
mod plan;
mod process;
mod programs;
mod servers;
mod state;
mod topology;
mod udp_echo;
mod xdp;

pub use address::Network;
pub use error::LabError;
pub use lab::{Lab, Options};
pub use namespace::hold;
pub use plan::{Link, Node, Plan, Role};
pub use state::{State, running};
pub use topology::Topology;
pub use udp_echo::serve as serve_udp_echo;
pub use xdp::reflect_on;
