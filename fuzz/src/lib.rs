//! Laws that hold for every input, for a fuzzer to look for the one that breaks them: of the packet logic in `keel-abi`,
//! of the readers in `keel-model` and of the messages in `keel-http1`. A law panics when it is broken. This crate finds no inputs itself (libFuzzer does)
//! and is no part of the appliance.

pub mod config;
pub mod error;
pub mod http1;
pub mod packet;
pub mod reference;
mod take;
pub mod tunnel;

pub use take::Take;
