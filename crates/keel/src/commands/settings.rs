//! Settings of services and servers: flags for the usual ones, KEY=VALUE for all others.

use clap::Args;
use keel_api::Fields;
use serde_json::Value;

use crate::address::Target;

/// Any setting in the spelling of cluster.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    key: String,
    value: Option<String>,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
            }),
            _ => Err("write KEY=VALUE in the spelling of cluster.toml, for example health.interval=4s; \
                      KEY= gives it its default again"
                .to_owned()),
        }
    }
}

/// The usual settings of a service.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct ServiceSettings {
    /// The virtual address
    #[arg(long, value_name = "IP")]
    address: Option<std::net::IpAddr>,

    /// The virtual ports: 80,443,8000-8010
    #[arg(long, value_name = "PORTS")]
    ports: Option<String>,

    /// tcp, udp or tcp+udp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,

    /// dr (direct routing), nat or tun (tunnel)
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,

    /// rr, wrr, lc, wlc, sed, nq, sh, dh or maglev
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,

    /// Keep a client's address on its server for this long (300s), or off
    #[arg(long, value_name = "DURATION")]
    persistence: Option<String>,

    /// Who answers when no server can: IP:PORT, or off
    #[arg(long, value_name = "IP:PORT")]
    fallback: Option<String>,

    /// How servers are checked: off, ping, connect, http, …
    #[arg(long, value_name = "TYPE")]
    health: Option<String>,

    /// Whether it takes traffic at all
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    enabled: Option<bool>,

    /// Any other setting in the spelling of cluster.toml; KEY= gives it its default again
    #[arg(value_name = "KEY=VALUE")]
    others: Vec<Setting>,
}

impl ServiceSettings {
    pub(crate) fn into_fields(self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "address", self.address.map(|ip| ip.to_string()));
        put(&mut fields, "ports", self.ports);
        put(&mut fields, "protocol", self.protocol);
        put(&mut fields, "mode", self.mode);
        put(&mut fields, "scheduler", self.scheduler);
        put(&mut fields, "fallback", self.fallback);
        put(&mut fields, "health.type", self.health);
        put(&mut fields, "enabled", self.enabled);
        match self.persistence.as_deref() {
            None => {}
            Some("off") => put(&mut fields, "persistence", Some("off")),
            Some(timeout) => {
                put(&mut fields, "persistence.by", Some("source"));
                put(&mut fields, "persistence.timeout", Some(timeout));
            }
        }
        put_others(&mut fields, self.others);
        fields
    }
}

/// The usual settings of a server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct ServerSettings {
    /// Its share of the work, 0 to 65535; 0 takes no new connections
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u16>,

    /// Full at so many connections; 0 is no limit
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u32>,

    /// Once full, back in below so many connections
    #[arg(long, value_name = "NUMBER")]
    min_connections: Option<u32>,

    /// Used only when every server of a lower number is down
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u16>,

    /// Any other setting in the spelling of cluster.toml; KEY= gives it its default again
    #[arg(value_name = "KEY=VALUE")]
    others: Vec<Setting>,
}

impl ServerSettings {
    pub(crate) fn into_fields(self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, "weight", self.weight);
        put(&mut fields, "max_connections", self.max_connections);
        put(&mut fields, "min_connections", self.min_connections);
        put(&mut fields, "priority", self.priority);
        put_others(&mut fields, self.others);
        fields
    }
}

/// The address and port of a server as settings.
pub(crate) fn put_target(fields: &mut Fields, target: Target) {
    put(fields, "address", Some(target.host));
    put(fields, "port", target.port);
}

fn put(fields: &mut Fields, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(key.to_owned(), value.into());
    }
}

fn put_others(fields: &mut Fields, others: Vec<Setting>) {
    for Setting { key, value } in others {
        fields.insert(key, value.map_or(Value::Null, Value::String));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_free_settings_become_keys_of_the_file() {
        let settings = ServiceSettings {
            ports: Some("80".to_owned()),
            persistence: Some("300s".to_owned()),
            others: vec!["health.interval=4s".parse().unwrap(), "panic_threshold=".parse().unwrap()],
            ..ServiceSettings::default()
        };
        let json = serde_json::to_value(settings.into_fields()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "ports": "80", "persistence.by": "source", "persistence.timeout": "300s",
                "health.interval": "4s", "panic_threshold": null
            })
        );
    }

    #[test]
    fn a_setting_without_a_key_is_refused() {
        assert!("=4s".parse::<Setting>().is_err());
        assert!("weight".parse::<Setting>().is_err());
    }
}
