//! Heartbeat times, users and certificates, looked at together.

use std::collections::HashMap;

use crate::cluster::Heartbeat;
use crate::duration::format_duration;
use crate::load::{ClusterDraft, KindDraft};
use crate::reader::{Table, did_you_mean};

pub(super) fn verify(draft: &ClusterDraft<'_>) {
    if let Some((at, Some(heartbeat))) = &draft.heartbeat {
        heartbeat_order(at, heartbeat);
    }
    certificates(draft);
    users(draft);
}

/// Each time must be longer than the one before it; the one that was written is blamed.
fn heartbeat_order(at: &Table<'_>, heartbeat: &Heartbeat) {
    let times = [
        ("keepalive", heartbeat.keepalive),
        ("warn_time", heartbeat.warn_time),
        ("dead_time", heartbeat.dead_time),
        ("initial_dead_time", heartbeat.initial_dead_time),
    ];
    for pair in times.windows(2) {
        let [(short, short_time), (long, long_time)] = [pair[0], pair[1]];
        let equal_is_fine = long == "initial_dead_time";
        if short_time < long_time || (equal_is_fine && short_time == long_time) {
            continue;
        }
        let (short_time, long_time) = (format_duration(short_time), format_duration(long_time));
        let more = if equal_is_fine { "at least" } else { "more than" };
        let text = format!(
            "{long} ({long_time}) must be {more} {short} ({short_time}): write a longer {long} or a shorter {short}"
        );
        at.error(if at.has(long) { long } else { short }, text);
    }
}

fn certificates(draft: &ClusterDraft<'_>) {
    let Some(entries) = &draft.certificates else { return };
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, (at, certificate)) in entries.iter().enumerate() {
        let Some(certificate) = certificate else { return };
        if let Some(first) = names.insert(certificate.name.as_str(), index) {
            at.error(
                "name",
                format!(
                    "certificate[{first}] is called `{}` already: give each its own name",
                    certificate.name
                ),
            );
        }
    }
    let legal: Vec<&str> = names.into_keys().collect();
    for service in draft.services() {
        let Some(KindDraft::Layer7(layer7)) = &service.kind else { continue };
        let wanted = layer7.tls.iter().flatten().flat_map(|tls| tls.certificates.iter().enumerate());
        for (index, name) in wanted.filter(|(_, name)| !legal.contains(&name.as_str())) {
            let advice = if legal.is_empty() {
                "add [[certificate]]".to_owned()
            } else {
                did_you_mean(name.as_str(), &legal)
            };
            let key = format!("tls.certificates[{index}]");
            service.at.error(&key, format!("there is no certificate `{name}`: {advice}"));
        }
    }
}

fn users(draft: &ClusterDraft<'_>) {
    let Some(entries) = &draft.users else { return };
    let names: Option<Vec<&str>> =
        draft.services().iter().map(|service| Some(service.name.as_ref()?.as_str())).collect();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, (at, user)) in entries.iter().enumerate() {
        let Some(user) = user else { continue };
        if let Some(first) = seen.insert(user.name.as_str(), index) {
            at.error(
                "name",
                format!("user[{first}] is called `{}` already: give each their own name", user.name),
            );
        }
        let Some(names) = &names else { continue };
        for (index, name) in
            user.services.iter().enumerate().filter(|(_, name)| !names.contains(&name.as_str()))
        {
            let advice = if names.is_empty() {
                "there is none at all".to_owned()
            } else {
                did_you_mean(name.as_str(), names)
            };
            at.error(&format!("services[{index}]"), format!("there is no service `{name}`: {advice}"));
        }
    }
    let admin = |user: &crate::User| user.role == crate::Role::Admin && user.services.is_empty();
    let read: Option<Vec<&crate::User>> = entries.iter().map(|(_, user)| user.as_ref()).collect();
    if let (Some(users), Some((at, _))) = (read, entries.first())
        && !users.iter().any(|user| admin(user))
    {
        at.error("role", "nobody has the role admin for all services, so nobody could change this again: give it to somebody");
    }
}
