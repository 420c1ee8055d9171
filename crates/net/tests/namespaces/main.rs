//! What crosses the kernel, tried in network namespaces that each test makes for itself. Needs root.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test, like the test itself")]

mod addresses;
mod announcements;
mod ethtool;
mod lab;
mod masquerade;
mod neighbours;
mod routes;
mod watch;
