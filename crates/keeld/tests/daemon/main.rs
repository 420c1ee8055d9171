//! The daemon as a process, in a network and mount namespace that each test makes for itself. Needs root.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test, like the test itself")]

mod alerts;
mod changes;
mod checks;
mod counters;
mod detach;
mod fallback;
mod journal;
mod machine;
#[expect(dead_code, reason = "the unit tests, which include it, need more of it")]
mod name_server;
mod names;
mod policy;
mod privileges;
mod seed;
