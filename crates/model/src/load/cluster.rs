//! Reads `cluster.toml` as a whole.

use super::health::{NamedChecks, read_named};
use super::service::ServiceDraft;
use super::settings;
use crate::cluster::{Alerts, Certificate, Cluster, FloatingIp, Heartbeat, Layer4Settings, User};
use crate::health::NamedHealth;
use crate::name::CheckName;
use crate::reader::Table;

/// One table of a list with what could be read of it.
pub(crate) type Entry<'d, T> = (Table<'d>, Option<T>);

/// A cluster as written; none where something was wrong.
pub(crate) struct ClusterDraft<'d> {
    pub(crate) services: Option<Vec<ServiceDraft<'d>>>,
    pub(crate) floating_ips: Option<Vec<Entry<'d, FloatingIp>>>,
    pub(crate) heartbeat: Option<Entry<'d, Heartbeat>>,
    layer4: Option<Layer4Settings>,
    health_checks: Option<Vec<Entry<'d, NamedHealth>>>,
    pub(crate) certificates: Option<Vec<Entry<'d, Certificate>>>,
    pub(crate) users: Option<Vec<Entry<'d, User>>>,
    alerts: Option<Alerts>,
}

impl<'d> ClusterDraft<'d> {
    pub(super) fn read(root: &Table<'d>) -> Self {
        let (checks, health_checks) = read_health_checks(root);
        let services = root.tables("service");
        let draft = Self {
            services: services
                .map(|tables| tables.into_iter().map(|table| ServiceDraft::read(table, &checks)).collect()),
            floating_ips: entries(root, "floating_ip", settings::read_floating_ip),
            heartbeat: root.table("heartbeat").map(|table| {
                let heartbeat = settings::read_heartbeat(&table);
                (table, heartbeat)
            }),
            layer4: root.table("layer4").and_then(|table| settings::read_layer4(&table)),
            health_checks,
            certificates: entries(root, "certificate", settings::read_certificate),
            users: entries(root, "user", settings::read_user),
            alerts: root.table("alerts").and_then(|table| settings::read_alerts(&table)),
        };
        root.finish_with(hint);
        draft
    }

    pub(crate) fn services(&self) -> &[ServiceDraft<'d>] {
        self.services.as_deref().unwrap_or_default()
    }

    pub(super) fn build(self) -> Option<Cluster> {
        Some(Cluster {
            services: self.services?.into_iter().map(ServiceDraft::build).collect::<Option<_>>()?,
            floating_ips: built(self.floating_ips?)?,
            heartbeat: self.heartbeat?.1?,
            layer4: self.layer4?,
            health_checks: built(self.health_checks?)?,
            certificates: built(self.certificates?)?,
            users: built(self.users?)?,
            alerts: self.alerts?,
        })
    }
}

fn hint(key: &str) -> Option<String> {
    let node = ["hostname", "interface", "route", "policy_route", "dns", "ntp", "web"];
    match key {
        "services" | "floating_ips" | "health_checks" | "certificates" | "users" => {
            let one = key.trim_end_matches('s');
            Some(format!("write [[{one}]] in front of each"))
        }
        key if node.contains(&key) => Some("it belongs to one node alone: write it in node.toml".to_owned()),
        _ => None,
    }
}

fn entries<'d, T>(
    root: &Table<'d>,
    key: &'static str,
    read: impl Fn(&Table<'_>) -> Option<T>,
) -> Option<Vec<Entry<'d, T>>> {
    let tables = root.tables(key)?;
    Some(tables.into_iter().map(|table| (table.clone(), read(&table))).collect())
}

fn built<T>(entries: Vec<Entry<'_, T>>) -> Option<Vec<T>> {
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn read_health_checks<'d>(root: &Table<'d>) -> (NamedChecks, Option<Vec<Entry<'d, NamedHealth>>>) {
    let mut checks = NamedChecks::default();
    let Some(tables) = root.tables("health_check") else {
        checks.incomplete = true;
        return (checks, None);
    };
    let mut read = Vec::new();
    for table in tables {
        let name = table.required::<CheckName>("name", "\"web-alive\"");
        let health = read_named(&table);
        checks.incomplete |= name.is_none();
        if let Some(name) = &name
            && checks.by_name.insert(name.clone(), health.clone()).is_some()
        {
            table.error("name", format!("two checks are called `{name}`: give this one another name"));
        }
        read.push((table, name.zip(health).map(|(name, health)| NamedHealth { name, health })));
    }
    (checks, Some(read))
}
