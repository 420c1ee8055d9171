//! What goes over the wire, one file per resource. Plain data: no behaviour but display helpers and
//! the colour rule.
//!
//! Times are RFC 3339 timestamps; durations are whole numbers with the unit in the field's name;
//! rates are per second over the daemon's last few seconds.

mod alerts;
mod config;
mod connections;
mod explain;
mod health;
mod light;
mod node;
mod persistence;
mod service;

pub use alerts::{AlertChannel, AlertChannelKind, AlertFailure, AlertTest, Alerts};
pub use config::{
    Candidate, Committed, ConfigText, Diff, DiffQuery, Fields, NewServer, NewService, PendingConfirm,
    Revision, Text, Validation, settings,
};
pub use connections::{Connection, ConnectionFilter, ConnectionFlag, ConnectionPage, ConnectionState};
pub use explain::{ExplainQuery, Explanation, Protocol, Verdict};
pub use health::{
    CheckHealth, CheckOutcome, CheckTest, HealthChange, HealthFilter, HealthVerdict, LastAnswer, Progress,
    ServerHealth, TestStep,
};
pub use keel_model::{AdminState, Problem, Severity};
pub use light::{Light, light_of};
pub use node::{
    Attachment, CpuLoad, Drop, Drops, Engine, FloatingIp, MapFill, Mode, NewFloatingIp, NodeRole,
    Performance, ProgramStats, RealServerHelp, Status, Totals, Versions, Warning,
};
pub use persistence::{Forgotten, PersistenceFilter, PersistencePage, PersistentClient};
pub use service::{
    ConnectionCounts, Counters, Neighbour, Rates, ServerAction, ServerState, ServerStatus, ServiceStatus,
};
