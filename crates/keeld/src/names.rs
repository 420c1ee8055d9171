//! Servers given by host name: looked up in the background, the last answer kept when a look-up fails.
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use keel_model::{Cluster, Host};
use tokio::time::timeout;

/// A look-up that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The host names in a configuration, with the family wanted.
pub(crate) fn wanted(cluster: &Cluster) -> BTreeSet<(String, bool)> {
    cluster
        .services
        .iter()
        .flat_map(|service| service.servers.iter().map(move |server| (server, service.address.is_ipv6())))
        .filter_map(|(server, v6)| match &server.address {
            Host::Name(name) => Some((name.to_string(), v6)),
            Host::Ip(_) => None,
        })
        .collect()
}

/// Looks a name up, preferring the family of its service.
pub(crate) async fn look_up(name: &str, v6: bool) -> Result<IpAddr, String> {
    let answer = timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await;
    let addresses: Vec<IpAddr> = match answer {
        Err(_) => return Err(format!("no answer from the name servers within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(addresses)) => addresses.map(|a: SocketAddr| a.ip()).collect(),
    };
    let preferred = addresses.iter().find(|a| a.is_ipv6() == v6).or_else(|| addresses.first());
    preferred.copied().ok_or_else(|| "the name has no address".to_owned())
}
