//! The layer-4 engine's userspace half: from a validated configuration to the contents of the packet path's maps, the
//! program's life (load, pin, adopt, replace, detach), and what can be read back: connections, persistence, counters,
//! explanations.
//!
//! It talks to no administrator and holds no timer: `keeld` calls it. [`compile`] and [`plan`] are pure.

mod attach;
mod compile;
mod connections;
mod desired;
mod error;
mod explain;
mod fullness;
mod leases;
mod maps;
mod object;
mod open;
mod persistence;
mod plan;
mod recount;
mod run;
mod run_frame;
mod shadow;
mod stats;
mod sweep;
mod table;

pub use attach::{AttachMode, Attached};
pub use compile::{Addresses, address_of, compile, same_place};
pub use connections::{ConnectionRow, Connections};
pub use desired::{Desired, DesiredServer, DesiredService, FALLBACK};
pub use error::DataplaneError;
pub use explain::{Explanation, Question};
pub use fullness::{Fill, NEARLY_FULL};
pub use leases::{Fit, fit};
pub use open::{Adoption, Dataplane, Options, Sizes};
pub use persistence::PersistenceRow;
pub use plan::{Op, plan};
pub use run::Hop;
pub use run_frame::{FrameRun, FrameVerdict};
pub use shadow::{LeaseSets, PathId, ServerId, Shadow, Slot};
pub use stats::{Reading, ServerCounters, Totals};
pub use sweep::{Stuck, Swept, Timeouts};
pub use table::TableSpec;
