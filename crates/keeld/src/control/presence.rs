//! Whether what a change is about is there. "No such server" and "there already" are answers of their own kind: scripts
//! go by them (`--if-exists`, exit code 5). The edits themselves look again, at the text that they change.
use std::net::IpAddr;

use keel_api::{ApiError, NewFloatingIp};
use keel_model::Cluster;

type Result = std::result::Result<(), ApiError>;

/// Refuses an unknown service, and an unknown server of a known one.
pub(super) fn known(cluster: &Cluster, service: &str, server: Option<&str>) -> Result {
    let Some(found) = cluster.service(service) else {
        let names = cluster.services.iter().map(|service| service.name.as_str());
        return Err(ApiError::not_found("service", service, names));
    };
    let names = || found.servers.iter().map(|server| server.name.as_str());
    match server.filter(|server| !names().any(|name| name == *server)) {
        Some(server) => Err(ApiError::not_found("server", server, names())),
        None => Ok(()),
    }
}

/// Refuses a service that is there already.
pub(super) fn new_service(cluster: &Cluster, name: &str) -> Result {
    match cluster.service(name) {
        Some(_) => Err(ApiError::conflict(format!("there is a service called \"{name}\" already"))
            .with_remedy(format!("change it with: keel service set {name} …"))),
        None => Ok(()),
    }
}

/// Refuses an unknown service, and a server that it has already.
pub(super) fn new_server(cluster: &Cluster, service: &str, name: &str) -> Result {
    known(cluster, service, None)?;
    match known(cluster, service, Some(name)) {
        Ok(()) => Err(ApiError::conflict(format!("{service} has a server called \"{name}\" already"))
            .with_remedy(format!("change it with: keel server set {service} {name} …"))),
        Err(_) => Ok(()),
    }
}

/// Refuses a floating address that was added by hand already.
pub(super) fn new_floating_ip(cluster: &Cluster, new: &NewFloatingIp) -> Result {
    let address = new.address.addr();
    match cluster.floating_ips.iter().find(|floating| floating.address.addr() == address) {
        Some(there) => {
            let there = there.address;
            Err(ApiError::conflict(format!("there is a floating address {there} already"))
                .with_remedy(format!("remove it first: keel floating rm {there}")))
        }
        None => Ok(()),
    }
}

/// Refuses a floating address that wasn't added by hand, and names the service it comes with if it does.
pub(super) fn floating_ip(cluster: &Cluster, address: &str) -> Result {
    let bare = address.split('/').next().unwrap_or_default().parse::<IpAddr>().ok();
    let by_hand = &cluster.floating_ips;
    if by_hand.iter().any(|floating| Some(floating.address.addr()) == bare) {
        return Ok(());
    }
    if let Some(service) = cluster.services.iter().find(|service| Some(service.address) == bare) {
        let name = &service.name;
        return Err(ApiError::conflict(format!("{address} is there for the service {name}"))
            .with_remedy(format!("it goes with it: keel service rm {name}")));
    }
    let known: Vec<String> = by_hand.iter().map(|floating| floating.address.to_string()).collect();
    Err(ApiError::not_found("floating address", address, known.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_api::Kind;

    fn cluster() -> Cluster {
        let text = "[[service]]\nname = \"web\"\nlayer = 4\naddress = \"192.0.2.80\"\nports = \"80\"\n\
             [[service.server]]\nname = \"a\"\naddress = \"192.0.2.11\"\n\
             [[floating_ip]]\naddress = \"10.0.0.1/24\"\n";
        keel_model::load_cluster(text).0.unwrap()
    }

    fn kind(result: Result) -> Option<Kind> {
        result.err().map(|error| error.kind)
    }

    #[test]
    fn what_is_not_there_is_not_found_and_what_is_there_is_a_conflict() {
        let cluster = cluster();
        let (missing, there) = (Some(Kind::NotFound), Some(Kind::Conflict));
        assert_eq!(kind(known(&cluster, "web", Some("a"))), None);
        assert_eq!(kind(known(&cluster, "web", Some("b"))), missing);
        assert_eq!(kind(known(&cluster, "mail", Some("a"))), missing);
        assert_eq!((kind(new_service(&cluster, "web")), kind(new_service(&cluster, "mail"))), (there, None));
        assert_eq!(kind(new_server(&cluster, "mail", "a")), missing);
        assert_eq!(
            (kind(new_server(&cluster, "web", "a")), kind(new_server(&cluster, "web", "b"))),
            (there, None)
        );
        let new = |address: &str| NewFloatingIp { address: address.parse().unwrap(), interface: None };
        assert_eq!(kind(new_floating_ip(&cluster, &new("10.0.0.1/32"))), there);
        assert_eq!(kind(new_floating_ip(&cluster, &new("10.0.0.2/24"))), None);
        assert_eq!(
            (kind(floating_ip(&cluster, "10.0.0.1")), kind(floating_ip(&cluster, "10.0.0.2/24"))),
            (None, missing)
        );
        let error = floating_ip(&cluster, "192.0.2.80").unwrap_err();
        assert!(error.kind == Kind::Conflict && error.remedy.unwrap().contains("keel service rm web"));
    }
}
