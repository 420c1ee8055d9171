//! No two services may be called the same, or take the same packets.

use std::collections::HashMap;

use crate::load::ServiceDraft;

pub(super) fn verify(services: &[ServiceDraft<'_>]) {
    names(services);
    let mut by_address: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let (Some(address), Some(true)) = (service.address, service.enabled) else { continue };
        let earlier = by_address.entry(address).or_default();
        if let Some(first) =
            earlier.iter().copied().find(|first| overlap(&services[*first], service).is_some())
        {
            refuse(services, first, index);
        }
        earlier.push(index);
    }
}

fn names(services: &[ServiceDraft<'_>]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let Some(name) = &service.name else { continue };
        if let Some(first) = seen.insert(name.as_str().to_lowercase(), index) {
            service.at.error(
                "name",
                format!("service[{first}] is called `{name}` already: give each its own name"),
            );
        }
    }
}

/// The first port both take, when they share a transport.
fn overlap(a: &ServiceDraft<'_>, b: &ServiceDraft<'_>) -> Option<u16> {
    let (first, second) = (a.protocol()?, b.protocol()?);
    let shared = first.transports().iter().any(|transport| second.transports().contains(transport));
    a.ports.as_ref()?.overlap(b.ports.as_ref()?).filter(|_| shared)
}

fn refuse(services: &[ServiceDraft<'_>], first: usize, index: usize) {
    let (earlier, service) = (&services[first], &services[index]);
    let (Some(port), Some(address)) = (overlap(earlier, service), service.address) else { return };
    let whose = earlier
        .name
        .as_ref()
        .map_or_else(|| format!("service[{first}]"), |name| format!("the service `{name}`"));
    let text = format!(
        "{address} port {port} belongs to {whose} already: change the ports, the address or the protocol of one of them"
    );
    service.at.error("ports", text);
}
