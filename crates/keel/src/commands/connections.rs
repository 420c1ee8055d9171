//! `keel connections`: the connection table.

mod render;
mod resolve;

use clap::Args;
use keel_api::{Connection, ConnectionFilter, ConnectionPage, ConnectionState};

use super::Outcome;
use crate::Context;
use crate::address::Endpoint;
use crate::failure::Failure;

pub use render::render;
pub use resolve::Names;

/// List connections: who talks to which server, and in what state.
///
/// SYN_RECV that stays means that the server's answers do not reach the client: in DR mode the
/// server answers ARP for the virtual address or does not have it, in NAT mode its default gateway
/// is not this appliance. `keel realserver SERVICE` prints what the server needs.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connections {
    /// Only this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Only this client
    #[arg(long, value_name = "IP[:PORT]")]
    client: Option<Endpoint>,

    /// Only this state: SYN_RECV, ESTABLISHED, FIN_WAIT, TIME_WAIT, CLOSE, UDP
    #[arg(long, value_name = "STATE")]
    state: Option<ConnectionState>,

    /// At most so many; 0 is all of them
    #[arg(long, value_name = "NUMBER", default_value_t = ConnectionFilter::DEFAULT_LIMIT)]
    limit: usize,

    /// Show clients by name where their address has one
    #[arg(long)]
    resolve: bool,
}

impl Connections {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let resolve = self.resolve && !context.out.is_json();
        let page = self.ask(context).await?;
        let names = if resolve { Names::of_clients(&page).await } else { Names::default() };
        context.out.answer(&page, |page, style| render(page, &names, style))
    }

    /// Asks page by page until there are enough.
    async fn ask(&self, context: &Context<'_>) -> Result<ConnectionPage, Failure> {
        let wanted = if self.limit == 0 { usize::MAX } else { self.limit };
        let port = self.client.and_then(|client| client.port);
        let mut all = ConnectionPage::default();
        loop {
            let filter = ConnectionFilter {
                service: self.service.clone(),
                server: self.server.clone(),
                client: self.client.map(|client| client.ip),
                state: self.state,
                limit: Some((wanted - all.connections.len()).min(ConnectionFilter::MAX_LIMIT)),
                cursor: all.next.take(),
            };
            let page = context.client.connections(&filter).await?;
            let of_port = |connection: &Connection| port.is_none_or(|port| connection.client.port() == port);
            all.connections.extend(page.connections.into_iter().filter(of_port));
            (all.next, all.total) = (page.next, page.total);
            if all.next.is_none() || all.connections.len() >= wanted {
                return Ok(all);
            }
        }
    }
}
