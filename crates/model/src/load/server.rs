//! Reads `[[service.server]]`.

use std::net::IpAddr;

use super::address::address_fault;
use crate::host::Host;
use crate::name::ServerName;
use crate::reader::{Read, Table};
use crate::server::{AdminState, Server};

/// A server as written; none where something was wrong.
pub(crate) struct ServerDraft<'d> {
    pub(crate) at: Table<'d>,
    pub(crate) name: Option<ServerName>,
    pub(crate) address: Option<Host>,
    pub(crate) port: Option<Option<u16>>,
    pub(crate) weight: Option<u16>,
    pub(crate) min_connections: Option<u32>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) priority: Option<u16>,
    pub(crate) state: Option<AdminState>,
}

impl<'d> ServerDraft<'d> {
    pub(super) fn read(at: Table<'d>) -> Self {
        let draft = Self {
            name: at.required("name", "\"web-1\""),
            address: address(&at),
            port: at.port("port").optional(),
            weight: at.small("weight", 0..=65535).or(Server::WEIGHT),
            min_connections: at.number("min_connections", 0..=u32::MAX).or(0),
            max_connections: at.number("max_connections", 0..=u32::MAX).or(0),
            priority: at.small("priority", 0..=65535).or(0),
            state: at.word("state").or(AdminState::Online),
            at,
        };
        draft.at.finish();
        draft
    }

    /// The fixed address, unless it is a name or wrong.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address.as_ref().and_then(Host::ip)
    }

    pub(super) fn build(self) -> Option<Server> {
        Some(Server {
            name: self.name?,
            address: self.address?,
            port: self.port?,
            weight: self.weight?,
            min_connections: self.min_connections?,
            max_connections: self.max_connections?,
            priority: self.priority?,
            state: self.state?,
        })
    }
}

fn address(at: &Table<'_>) -> Option<Host> {
    let read = at.parse::<Host>("address").and_then(|host| match host.ip().and_then(address_fault) {
        None => Read::Is(host),
        Some(fault) => {
            at.error(
                "address",
                format!("{host} is {fault}: write the address the server has on its network"),
            );
            Read::Wrong
        }
    });
    at.present("address", "\"192.168.1.110\"", read)
}
