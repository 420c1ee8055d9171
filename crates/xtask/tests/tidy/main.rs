//! The repository's invariants as tests: which crate may use which, where `unsafe` may stand, which licences are allowed,
//! and how files begin and end.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod arrows;
mod files;
mod licences;
mod metadata;
