//! The configuration's vocabulary: text → what was written → what may run.
//!
//! [`load_cluster`] and [`load_node`] read the two files of the appliance and report *every* problem with its
//! place; the types they return can't be wrong. [`diff`] says in words what differs between two configurations,
//! [`edit`] changes the text while keeping its comments and order, [`realserver`] prints what a real server needs.
//!
//! This crate opens no file, reads no clock, resolves no name and runs nothing: text goes in, values come out.

mod check;
mod cluster;
mod diff;
mod duration;
pub mod edit;
mod file;
mod health;
mod host;
mod layer4;
mod layer7;
mod load;
mod name;
mod node;
mod persistence;
mod ports;
mod problem;
mod reader;
pub mod realserver;
mod render;
mod rule;
mod server;
mod service;
#[cfg(feature = "test-support")]
pub mod testing;
mod verify;
mod word;

pub use check::{
    AgentCheck, Check, DnsCheck, DnsRecord, GrpcCheck, Header, HeaderError, HttpCheck, HttpMethod,
    HttpVersion, LdapCheck, LoginCheck, RadiusCheck, RdpCheck, ScriptCheck, SipCheck, SmtpCheck, StatusSet,
    StatusSetError, TcpCheck, Tls, TlsCheck, Turn, TurnError, UdpCheck,
};
pub use cluster::{
    Acme, Alerts, Certificate, Cluster, FloatingIp, Heartbeat, Layer4Settings, Layer4Timeouts, MailSecurity,
    Role, User,
};
pub use diff::{Change, ChangeKind, diff, diff_node};
pub use duration::{DurationError, format_duration, parse_duration};
pub use health::{Health, NamedHealth, Require, Through};
pub use host::{Host, HostError};
pub use layer4::{
    Encapsulation, Layer4, Layer4TimeoutOverrides, Mode4, Protocol4, RemovedPolicy, Scheduler4, Transport,
};
pub use layer7::{ClientTls, Layer7, Layer7Timeouts, Mode7, ProxyVersion, Scheduler7, ServerTls, TlsVersion};
pub use load::{address_fault, load_cluster, load_node};
pub use name::{CertificateName, CheckName, NameError, ServerName, ServiceName, UserName};
pub use node::{
    Destination, Dns, HeartbeatPaths, Interface, Node, Ntp, PeerAddress, PolicyRoute, Route, Vlan, Web,
    XdpChoice,
};
pub use persistence::{Cookie, Persistence, PersistenceBy};
pub use ports::{PortSet, PortSetError};
pub use problem::{Problem, Severity};
pub use render::{render_cluster, render_node};
pub use rule::{Action, Condition, HeaderMatch, Rule};
pub use server::{AdminState, Server};
pub use service::{Failback, PanicAction, Service, ServiceKind};
pub use verify::check_together;
