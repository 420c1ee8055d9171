//! Who sticks to which server: shown, counted, let go.
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use keel_api::{ApiError, Forgotten, PersistenceFilter, PersistencePage, PersistentClient};
use keel_dataplane::{PersistenceRow, ServerId, Slot};
use keel_model::{Persistence, Service};

use crate::{clock, node::Node};

/// A service whose clients stick, by its slot in the packet path.
type Sticky<'a> = HashMap<Slot, (&'a Service, &'a Persistence)>;

/// The network that a client of this service is remembered as.
fn network(persistence: &Persistence, client: IpAddr) -> Option<IpNet> {
    let prefix = if client.is_ipv4() { persistence.prefix4 } else { persistence.prefix6 };
    IpNet::new(client, prefix).ok().map(|net| net.trunc())
}

fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Whether a remembered client (masked already) is one that the filter means.
fn matches(filter: &PersistenceFilter, service: &Service, persistence: &Persistence, client: IpAddr) -> bool {
    filter.service.as_deref().is_none_or(|name| name == service.name.as_str())
        && filter.client.is_none_or(|wanted| {
            wanted.is_ipv4() == client.is_ipv4()
                && network(persistence, wanted).is_some_and(|net| net.addr() == client)
        })
}

impl Node {
    fn sticky(&self) -> Sticky<'_> {
        let desired = self.desired();
        let slots = desired.services.iter().filter_map(|compiled| {
            let service = self.cluster.service(&compiled.name)?;
            let persistence = service.persistence.as_ref()?;
            let slot = compiled.keys.iter().find_map(|key| self.dataplane.shadow().slot_of(key))?;
            Some((slot, (service, persistence)))
        });
        slots.collect()
    }

    fn sticking_rows(&self, visit: impl FnMut(PersistenceRow)) -> Result<(), ApiError> {
        let walked = self.dataplane.persistence(clock::monotonic_ns(), visit);
        walked.map_err(|error| ApiError::internal(&error))
    }

    /// How many clients stick to each server. Nothing is read if none can.
    pub(crate) fn sticking(&self) -> HashMap<ServerId, u64> {
        let mut counts = HashMap::new();
        let sticky = self.sticky();
        if sticky.is_empty() {
            return counts;
        }
        let counted = self.sticking_rows(|row| {
            if sticky.contains_key(&row.service) {
                *counts.entry(row.server).or_default() += 1;
            }
        });
        if let Err(error) = counted {
            tracing::warn!("counting persistent clients: {error}");
        }
        counts
    }

    /// Refuses an unknown service, and one whose clients don't stick.
    fn sticks(&self, filter: &PersistenceFilter) -> Result<(), ApiError> {
        let Some(name) = filter.service.as_deref() else { return Ok(()) };
        super::presence::known(&self.cluster, name, None)?;
        match self.cluster.service(name).and_then(|service| service.persistence.as_ref()) {
            Some(_) => Ok(()),
            None => Err(ApiError::conflict(format!("the clients of {name} don't stick to a server"))
                .with_remedy(format!("switch it on: keel service set {name} --persistence source"))),
        }
    }

    /// A page of the persistence table, in an order that stays from page to page.
    pub(crate) fn persistence_page(&self, filter: &PersistenceFilter) -> Result<PersistencePage, ApiError> {
        self.sticks(filter)?;
        let sticky = self.sticky();
        let names = self.names_of_servers();
        let now_ns = clock::monotonic_ns();
        let mut rows = Vec::new();
        self.sticking_rows(|row| {
            let Some((service, persistence)) = sticky.get(&row.service) else { return };
            let net = network(persistence, row.client)
                .filter(|_| matches(filter, service, persistence, row.client));
            let Some(net) = net else { return };
            let client = PersistentClient {
                service: service.name.to_string(),
                client: shown(net),
                server: names.get(&row.server).and_then(|(_, server)| server.clone()),
                expires_seconds: row.expires_ns.saturating_sub(now_ns) / 1_000_000_000,
                proved: row.proved,
            };
            rows.push((SocketAddr::new(row.client, 0), client));
        })?;
        rows.sort_by(|(a, left), (b, right)| (&left.service, a).cmp(&(&right.service, b)));
        let total = rows.len() as u64;
        let skip = match &filter.cursor {
            None => 0,
            Some(cursor) => cursor
                .parse()
                .map_err(|_| ApiError::bad_request("that is no cursor of a persistence page"))?,
        };
        let clients: Vec<PersistentClient> =
            rows.into_iter().skip(skip).take(filter.rows()).map(|(_, client)| client).collect();
        let end = skip + clients.len();
        let next = ((end as u64) < total).then(|| end.to_string());
        Ok(PersistencePage { clients, next, total })
    }

    /// Lets clients go.
    pub(crate) fn forget_clients(&self, filter: &PersistenceFilter) -> Result<Forgotten, ApiError> {
        self.sticks(filter)?;
        let sticky = self.sticky();
        let meant = |slot: Slot, client: IpAddr| {
            sticky
                .get(&slot)
                .is_some_and(|(service, persistence)| matches(filter, service, persistence, client))
        };
        let now_ns = clock::monotonic_ns();
        let gone =
            self.dataplane.forget_clients(now_ns, meant).map_err(|error| ApiError::internal(&error))?;
        Ok(Forgotten { clients: gone as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_meant_by_any_address_of_the_network_it_is_remembered_as() {
        let text = "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"192.0.2.80\"\nports = \"80\"\n\
             persistence = { by = \"source\", prefix4 = 24 }\n\
             [[service.server]]\nname = \"a\"\naddress = \"192.0.2.11\"\n";
        let cluster = keel_model::load_cluster(text).0.unwrap();
        let service = &cluster.services[0];
        let persistence = service.persistence.as_ref().unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let meant = |wanted: &str| {
            let filter = PersistenceFilter { client: Some(ip(wanted)), ..PersistenceFilter::default() };
            matches(&filter, service, persistence, ip("198.51.100.0"))
        };
        assert!(meant("198.51.100.7") && meant("198.51.100.0"));
        assert!(!meant("198.51.101.7") && !meant("::"));
        let other = PersistenceFilter { service: Some("mail".to_owned()), ..PersistenceFilter::default() };
        assert!(!matches(&other, service, persistence, ip("198.51.100.0")));
        assert_eq!(network(persistence, ip("198.51.100.0")).map(shown).unwrap(), "198.51.100.0/24");
        assert_eq!(network(persistence, ip("2001:db8::7")).map(shown).unwrap(), "2001:db8::7");
    }
}
