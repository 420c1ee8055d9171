//! Tells people what happened: gathers events into reports ([`Digest`], which is pure) and sends those by mail, to a
//! webhook and to syslog ([`Alerter`]). It watches nothing itself and decides nothing about who is up: whoever does
//! (health checks, the pair, certificates) tells it, and is never held up by it.
//!
//! ```no_run
//! # async fn example(alerts: keel_model::Alerts, read: impl Fn(&str) -> Result<Option<Vec<u8>>, String>) {
//! use keel_alert::{Alerter, Event, Files, Severity, Subject};
//!
//! let files = Files { secret: &read, secrets: "secrets".into(), authorities: Vec::new() };
//! let (alerter, worker) = Alerter::new(&alerts, &files);
//! let work = tokio::spawn(worker.run()); // ends after the last `Alerter` is dropped, when what waits was tried once
//! alerter.tell(Event {
//!     at: jiff::Timestamp::now(),
//!     node: "lb1".to_owned(),
//!     subject: Subject::Server { service: "web".to_owned(), server: "rs1".to_owned() },
//!     severity: Severity::Problem,
//!     text: "connection refused".to_owned(),
//! });
//! alerter.configure(&alerts, &files); // whenever `cluster.toml` or a secret has changed
//! alerter.keep_only(|subject| matches!(subject, Subject::Server { .. }), "lb1"); // what was removed troubles nobody any more
//! let status = alerter.status(); // for `keel status`
//! let outcomes = alerter.test("lb1").await; // one report over each channel, now
//! # }
//! ```

mod alerter;
mod authorities;
mod digest;
mod event;
mod post;
mod report;
mod sender;
mod text;

pub use alerter::{Alerter, Tested, Worker};
pub use authorities::authorities;
pub use digest::Digest;
pub use event::{Event, Severity, Subject};
pub use post::{ChannelStatus, Failure, Status};
pub use report::{Report, Told};
pub use sender::{ChannelKind, Files, ReadSecret, SendError};
