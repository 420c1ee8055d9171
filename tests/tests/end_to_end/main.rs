//! The whole appliance in labs, seen from its clients and from its command line. Tests that put the machine under load run alone.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod addresses;
mod applications;
mod commit;
mod diagnosis;
mod drain;
mod flood;
mod health;
mod modes;
mod packets;
mod persistence;
mod restart;
mod streams;
mod through;
mod wrong;
