//! From a service's servers and their verdicts to the ones that take new connections.
use keel_model::{AdminState, Failback, PanicAction, Server, Service};

/// What is known about a server's health.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Nothing yet.
    Unknown,
    /// It works, or nobody checks.
    Up,
    /// It doesn't.
    Down,
    /// It works and asks for no more (a drain status, an agent).
    Drain,
}

/// What is known about the servers of one service, in their order. What is missing counts as up with its whole weight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outlook {
    /// How each is.
    pub verdicts: Vec<Verdict>,
    /// How much of its weight each gets now, per cent: an agent's wish, a slow start.
    pub shares: Vec<u16>,
    /// The priority group that took connections last, where it stays by itself ([`Failback::Manual`]).
    pub held: Option<u16>,
}

/// The outcome for one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// For each server, in order: takes new connections.
    pub takes: Vec<bool>,
    /// For each server: the weight in force.
    pub weights: Vec<u16>,
    /// Too few servers were up, so all that aren't taken out by hand are used.
    pub panic: bool,
    /// Nobody takes connections, so the fallback server does.
    pub fallback: bool,
    /// The priority group that takes connections because it is up and every lower one is known not to be: the group to
    /// hold from now on.
    pub group: Option<u16>,
}

/// Decides who takes new connections.
///
/// A server counts if it is online by hand and has a weight. Of those, the ones that are up; of those, the group with
/// the lowest priority number, or the one that is held, which is also waited for while nothing is known about it. If fewer than `panic_threshold` per cent of those that count
/// may be up, health is not believed and all that count are used, or nobody is, as the service says. While none is
/// known to be up, the ones that nothing is known about take connections: better than nobody.
pub fn members(service: &Service, outlook: &Outlook) -> Membership {
    let verdict = |i: usize| outlook.verdicts.get(i).copied().unwrap_or(Verdict::Up);
    let counts = |server: &Server| server.state == AdminState::Online && server.weight > 0;
    let servers = || service.servers.iter().enumerate().filter(|(_, server)| counts(server));
    let of = |wanted: Verdict| servers().filter(move |(i, _)| verdict(*i) == wanted);
    let perhaps_up = of(Verdict::Up).count() + of(Verdict::Unknown).count();
    let alarm = perhaps_up * 100 < servers().count() * usize::from(service.panic_threshold);
    let panic = alarm && service.panic_action == PanicAction::All;
    let lowest = |wanted: Verdict| of(wanted).map(|(_, server)| server.priority).min();
    let in_group = |wanted: Verdict, group: u16| of(wanted).any(|(_, server)| server.priority == group);
    let held = outlook.held.filter(|_| service.failback == Failback::Manual);
    // The one that took connections last may well be up. Another one would take them for good, by being asked first.
    let awaited = held.filter(|held| !in_group(Verdict::Up, *held) && in_group(Verdict::Unknown, *held));
    let held = held.filter(|held| in_group(Verdict::Up, *held));
    let (group, wanted) = if panic {
        (servers().map(|(_, server)| server.priority).min(), None)
    } else if alarm {
        (None, None)
    } else if awaited.is_some() {
        (awaited, Some(Verdict::Unknown))
    } else if let Some(group) = held.or_else(|| lowest(Verdict::Up)) {
        (Some(group), Some(Verdict::Up))
    } else {
        (lowest(Verdict::Unknown), Some(Verdict::Unknown))
    };
    let takes: Vec<bool> = (service.servers.iter().enumerate())
        .map(|(i, server)| {
            let usable = wanted.is_none_or(|wanted| verdict(i) == wanted);
            counts(server) && usable && Some(server.priority) == group
        })
        .collect();
    let lower_is_known = |group: u16| lowest(Verdict::Unknown).is_none_or(|unknown| unknown >= group);
    Membership {
        fallback: service.fallback.is_some() && !takes.contains(&true),
        weights: service
            .servers
            .iter()
            .enumerate()
            .map(|(i, server)| share(server.weight, outlook.shares.get(i)))
            .collect(),
        takes,
        panic,
        group: group.filter(|group| wanted == Some(Verdict::Up) && lower_is_known(*group)),
    }
}

/// So much of a weight; a weight never becomes nothing by it.
fn share(weight: u16, share: Option<&u16>) -> u16 {
    let share = u32::from(share.copied().unwrap_or(100));
    if weight == 0 {
        return 0;
    }
    (u32::from(weight) * share / 100).clamp(1, u32::from(u16::MAX)) as u16
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
