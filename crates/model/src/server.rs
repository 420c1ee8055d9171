//! A real server of a service.

use serde::Serialize;

use crate::host::Host;
use crate::name::ServerName;
use crate::word::words;

words! {
    /// What the administrator wants of a server.
    pub enum AdminState("state") {
        /// Takes new work.
        Online = "online",
        /// No new work, what runs may finish.
        Drain = "drain",
        /// Out now.
        Halt = "halt",
    }
}

/// One server, as configured; whether it is up is not known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Its name, unique within the service.
    pub name: ServerName,
    /// Where it is.
    pub address: Host,
    /// The port it listens on; none means the port the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its share of new work, 0 to 65535; 0 takes none.
    pub weight: u16,
    /// Once full, it takes new work again when it has fewer connections than this; 0 means ¾ of the maximum.
    pub min_connections: u32,
    /// Connections at most; 0 means any number.
    pub max_connections: u32,
    /// Servers with a higher number are used only when every server with a lower one is down.
    pub priority: u16,
    /// What the administrator wants of it.
    pub state: AdminState,
}

impl Server {
    /// The weight of a server unless told otherwise.
    pub const WEIGHT: u16 = 100;

    /// A server with every default.
    pub fn new(name: ServerName, address: impl Into<Host>) -> Self {
        Self {
            name,
            address: address.into(),
            port: None,
            weight: Self::WEIGHT,
            min_connections: 0,
            max_connections: 0,
            priority: 0,
            state: AdminState::Online,
        }
    }
}
