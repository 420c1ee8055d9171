//! What an administrator should know and can do something about: what the configuration wanted and the network refused,
//! handshakes that don't end, names without an address, edits that wait.
use std::net::IpAddr;

use keel_api::{ServiceStatus, Warning};
use keel_dataplane::{Fill, ServerId};
use keel_model::{Host, Mode4, Problem, Service, Severity};

use crate::{interfaces::chain, names::Trouble, node::Node};

/// That a server is where another one of its service is.
fn not_used(name: &Host, address: IpAddr, by: &str) -> String {
    format!("{name} is at {address}, where {by} is already; the server isn't used beside it")
}

impl Node {
    /// All of them.
    pub(crate) fn warnings(&self, services: &[ServiceStatus]) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self
            .failures
            .iter()
            .map(|(subject, text)| Warning {
                severity: Severity::Error,
                subject: subject.clone(),
                text: text.clone(),
                remedy: None,
            })
            .collect();
        for service in services {
            for server in &service.servers {
                if let Some(hint) = &server.hint {
                    warnings.push(Warning {
                        severity: Severity::Warning,
                        subject: format!("{}/{}", service.name, server.name),
                        text: hint.clone(),
                        remedy: Some(format!("keel realserver {}", service.name)),
                    });
                }
            }
        }
        warnings.extend(self.names_in_trouble());
        warnings.extend(self.health.problems().map(|(service, why)| Warning {
            severity: Severity::Warning,
            subject: service.to_owned(),
            text: format!("its servers can't be checked: {why}"),
            remedy: Some(format!("keel health test {service}")),
        }));
        warnings.extend(self.alerts_in_trouble());
        warnings.extend(self.resized());
        let refused = self.dataplane.totals().map_or(0, |totals| totals.table_full);
        warnings.extend(self.last_sweep.fullness.iter().filter_map(|fill| crowded(fill, refused)));
        let edited = match self.store.edited_on_disk() {
            Ok(None) => None,
            Ok(Some(_)) => Some((
                "it was edited on disk and the edit isn't in force".to_owned(),
                Some("keel config diff, then keel apply /etc/evenkeel/cluster.toml".to_owned()),
            )),
            // It says itself what to do.
            Err(error) => Some((chain(&error), None)),
        };
        warnings.extend(edited.map(|(text, remedy)| Warning {
            severity: Severity::Warning,
            subject: "cluster.toml".to_owned(),
            text,
            remedy,
        }));
        warnings
    }

    fn names_in_trouble(&self) -> Vec<Warning> {
        let warning = |(i, j, trouble): (usize, usize, Trouble)| {
            let (service, server) = (&self.cluster.services[i], &self.cluster.services[i].servers[j]);
            let name = &server.address;
            let ask = self.resolver.remedy(&name.to_string());
            let (text, remedy) = match trouble {
                Trouble::Unresolved(why) => {
                    (format!("name not resolved: {name}: {why}; the server gets no connections"), ask)
                }
                Trouble::Taken { address, by } => (
                    not_used(name, address, &by),
                    format!("remove one of the two: keel server rm {} {}", service.name, server.name),
                ),
                Trouble::Stale { address, since, why } => (
                    format!(
                        "name not resolved: {name}: {why}; the address of {since:.0}, {address}, is used on"
                    ),
                    ask,
                ),
            };
            Warning {
                severity: Severity::Warning,
                subject: format!("{}/{}", service.name, server.name),
                text,
                remedy: Some(remedy),
            }
        };
        self.name_troubles().into_iter().map(warning).collect()
    }

    /// The same for the answer to a change: servers that get no connections yet.
    pub(crate) fn unresolved_names(&self) -> Vec<Problem> {
        let problem = |(i, j, trouble): (usize, usize, Trouble)| {
            let name = &self.cluster.services[i].servers[j].address;
            let text = match trouble {
                Trouble::Unresolved(why) => format!(
                    "name not resolved: {name}: {why}; the server gets no connections until it is, and is asked for \
                     again and again"
                ),
                Trouble::Taken { address, by } => not_used(name, address, &by),
                Trouble::Stale { .. } => return None,
            };
            Some(Problem::warning(format!("service[{i}].server[{j}].address"), text))
        };
        self.name_troubles().into_iter().filter_map(problem).collect()
    }

    /// A table whose size was changed keeps its old one until it is created anew.
    fn resized(&self) -> Option<Warning> {
        let (connections, half_open) = self.dataplane.capacities().ok()?;
        let settings = &self.cluster.layer4;
        if (connections, half_open) == (settings.connections, settings.half_open) {
            return None;
        }
        Some(Warning {
            severity: Severity::Warning,
            subject: "layer4".to_owned(),
            text: format!(
                "the tables have room for {connections} connections and {half_open} half-open ones; the configured \
                 sizes, {} and {}, take effect when they are created anew",
                settings.connections, settings.half_open
            ),
            remedy: Some(
                "stop keeld, run `keeld --detach` (ends all connections), start it again".to_owned(),
            ),
        })
    }

    /// The two classic mistakes: handshakes that don't end.
    pub(crate) fn hint(&self, service: &Service, id: ServerId) -> Option<String> {
        let stuck = self.stuck.get(&id).filter(|stuck| stuck.connections > 0)?;
        let n = stuck.connections;
        let name = service.name.as_str();
        match service.as_layer4()?.mode {
            Mode4::Nat if stuck.answered < n => Some(format!(
                "{n} connection(s) stay in SYN_RECV and its answers don't come back through here: is its default \
                 gateway this appliance? `keel realserver {name}` says how to set it"
            )),
            Mode4::Nat => {
                Some(format!("{n} client(s) got its answer and didn't go on: their way back, or a flood?"))
            }
            Mode4::Dr => Some(format!(
                "{n} connection(s) stay in SYN_RECV: the ARP problem isn't solved, or it doesn't have {} on its \
                 loopback; `keel realserver {name}` says how",
                service.address
            )),
            Mode4::Tun(_) => Some(format!(
                "{n} connection(s) stay in SYN_RECV: it doesn't unpack the tunnel, or doesn't have {}; \
                 `keel realserver {name}` says how",
                service.address
            )),
        }
    }
}

/// A table that is nearly full, and what happens when it is. `refused` counts packets that proved a connection for which
/// there was no room.
fn crowded(fill: &Fill, refused: u64) -> Option<Warning> {
    if !fill.is_nearly_full() {
        return None;
    }
    let (key, holds, consequence) = match fill.map {
        "CONNECTIONS" => (
            "connections",
            "connection table",
            match refused {
                0 => "when it is full, new connections stay half-open and may be forgotten".to_owned(),
                n => format!(
                    "new connections that find no room stay half-open and may be forgotten: {n} packet(s) have \
                     found none so far"
                ),
            },
        ),
        "HALF_OPEN" => (
            "half_open",
            "table of half-open connections",
            "the longest unused are forgotten: a flood of SYNs, or servers that don't answer?".to_owned(),
        ),
        "PERSISTENCE" => (
            "persistence_entries",
            "persistence table",
            "when it is full, clients that were away the longest may get another server".to_owned(),
        ),
        _ => return None,
    };
    Some(Warning {
        severity: Severity::Warning,
        subject: "layer4".to_owned(),
        text: format!(
            "the {holds} is {} % full, {} of {} entries; {consequence}",
            fill.percent(),
            fill.entries,
            fill.capacity
        ),
        remedy: Some(format!(
            "raise layer4.{key}; the new size takes effect after `keeld --detach`, which ends all connections"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_nearly_full_is_announced_with_its_setting() {
        let fill = |map, entries| Fill { map, entries, capacity: 1000 };
        for (map, key) in [
            ("CONNECTIONS", "layer4.connections"),
            ("HALF_OPEN", "layer4.half_open"),
            ("PERSISTENCE", "layer4.persistence_entries"),
        ] {
            assert_eq!(crowded(&fill(map, 799), 0), None);
            let warning = crowded(&fill(map, 834), 0).unwrap();
            assert!(warning.text.contains("83 % full, 834 of 1000"), "{}", warning.text);
            assert!(warning.remedy.unwrap().contains(key));
        }
        let refused = crowded(&fill("CONNECTIONS", 1000), 77).unwrap();
        assert!(refused.text.contains("77 packet(s)"), "{}", refused.text);
    }
}
