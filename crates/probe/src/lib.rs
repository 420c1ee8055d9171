//! Asks one server one question, in the protocol that it speaks, and says what came of it: good or not, why, and on
//! request every step on the way. It decides nothing about who is up (that is `keel-pool`), keeps no state between two
//! questions and starts none by itself.
//!
//! What a server sends is hostile: every answer has a limit in time ([`Question::timeout`]) and in bytes
//! (64 KiB, an HTTP body a megabyte), and nothing of it is believed that the protocol doesn't need.

mod ask;
mod datagrams;
mod error;
mod hidden;
mod line;
mod place;
mod protocol;
mod question;
mod rest;
mod scripts;
mod tcp;
mod text;
mod through;
mod tls;
mod trace;

pub use ask::{Answer, Asker, ask};
pub use error::{Fault, ReadyError};
pub use place::{Place, Tunnel, Via};
pub use protocol::Pinger;
pub use question::{Files, Question, ReadSecret};
pub use scripts::{ScriptCall, ScriptEnd, ScriptRunner, serve_scripts};
pub use trace::{Step, Trace};
