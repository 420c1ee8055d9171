//! Names for client addresses, asked of the system's resolver.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keel_api::{Connection, ConnectionPage};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// All names must come within this; the rest stay addresses.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions asked at once.
const AT_ONCE: usize = 16;

/// The names found. Without any, addresses are shown.
#[derive(Debug, Default)]
pub struct Names(HashMap<IpAddr, String>);

impl Names {
    /// Asks for the name of every client of the page.
    pub async fn of_clients(page: &ConnectionPage) -> Self {
        let clients: HashSet<IpAddr> =
            page.connections.iter().map(|connection| connection.client.ip()).collect();
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut lookups = JoinSet::new();
        for ip in clients {
            let gate = Arc::clone(&gate);
            lookups.spawn(async move {
                let _turn = gate.acquire().await;
                let name = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&ip)).await;
                (ip, name.ok().and_then(Result::ok))
            });
        }
        let mut names = HashMap::new();
        // What has not come in time is not waited for; the addresses say enough.
        let _ = tokio::time::timeout(PATIENCE, collect(&mut lookups, &mut names)).await;
        Self(names)
    }

    /// The client of a connection, by name where there is one.
    pub(super) fn client(&self, connection: &Connection) -> String {
        match self.0.get(&connection.client.ip()) {
            Some(name) => format!("{name}:{}", connection.client.port()),
            None => connection.client.to_string(),
        }
    }
}

async fn collect(lookups: &mut JoinSet<(IpAddr, Option<String>)>, names: &mut HashMap<IpAddr, String>) {
    while let Some(answer) = lookups.join_next().await {
        if let Ok((ip, Some(name))) = answer {
            names.insert(ip, name);
        }
    }
}
