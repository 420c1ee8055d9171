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
    /// What isn't known about that group will never be: none of its servers can be asked.
    pub unaskable: bool,
}

/// The outcome for one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// For each server, in order: takes new connections.
    pub takes: Vec<bool>,
    /// For each server: the weight in force.
    pub weights: Vec<u16>,
    /// The group of which too few servers are up to believe it.
    pub alarm: Option<u16>,
    /// Therefore all of it that aren't taken out by hand are used.
    pub panic: bool,
    /// Nobody takes connections, so the fallback server does.
    pub fallback: bool,
    /// The priority group that takes connections, if anybody does.
    pub group: Option<u16>,
    /// The same if some of it are up and every lower one is known not to be: the group to hold from now on.
    pub holds: Option<u16>,
}

/// Decides who takes new connections.
///
/// A server counts if it is online by hand and has a weight. Of those, the ones that are up; of those, the group with
/// the lowest priority number, or the one that is held, which is also waited for while nothing is known about it. While
/// none is known to be up, the ones that nothing is known about take connections: better than nobody.
///
/// If of the group that is to take connections fewer than `panic_threshold` per cent may be up, its health is not believed
/// and all of it is used, or nobody is, as the service says. Where no group is up that is the one that is held, else the
/// lowest. So a group that is down as a whole gives way to the next one before anybody panics.
pub fn members(service: &Service, outlook: &Outlook) -> Membership {
    let verdict = |i: usize| outlook.verdicts.get(i).copied().unwrap_or(Verdict::Up);
    let counts = |server: &Server| server.state == AdminState::Online && server.weight > 0;
    let servers = || service.servers.iter().enumerate().filter(|(_, server)| counts(server));
    let of = |wanted: Verdict| servers().filter(move |(i, _)| verdict(*i) == wanted);
    let lowest = |wanted: Verdict| of(wanted).map(|(_, server)| server.priority).min();
    let in_group = |wanted: Verdict, group: u16| of(wanted).any(|(_, server)| server.priority == group);
    let last = outlook.held.filter(|_| service.failback == Failback::Manual);
    // The one that took connections last may well be up. Another one would take them for good, by being asked first.
    let awaited = last.filter(|last| !in_group(Verdict::Up, *last) && in_group(Verdict::Unknown, *last));
    let awaited = awaited.filter(|_| !outlook.unaskable);
    let held = last.filter(|last| in_group(Verdict::Up, *last));
    let (group, wanted) = if awaited.is_some() {
        (awaited, Verdict::Unknown)
    } else if let Some(group) = held.or_else(|| lowest(Verdict::Up)) {
        (Some(group), Verdict::Up)
    } else {
        (lowest(Verdict::Unknown), Verdict::Unknown)
    };
    let of_group = |group: u16| servers().filter(move |(_, server)| server.priority == group);
    let group = group.or_else(|| {
        let last = last.filter(|last| of_group(*last).next().is_some());
        last.or_else(|| servers().map(|(_, server)| server.priority).min())
    });
    let alarm = group.filter(|group| {
        let may_be_up =
            of_group(*group).filter(|(i, _)| matches!(verdict(*i), Verdict::Up | Verdict::Unknown));
        may_be_up.count() * 100 < of_group(*group).count() * usize::from(service.panic_threshold)
    });
    let panic = alarm.is_some() && service.panic_action == PanicAction::All;
    let (group, wanted) = match (alarm, panic) {
        (Some(_), true) => (group, None),
        (Some(_), false) => (None, None),
        (None, _) => (group, Some(wanted)),
    };
    let takes: Vec<bool> = (service.servers.iter().enumerate())
        .map(|(i, server)| {
            let usable = wanted.is_none_or(|wanted| verdict(i) == wanted);
            counts(server) && usable && Some(server.priority) == group
        })
        .collect();
    let group = group.filter(|_| takes.contains(&true));
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
        alarm,
        panic,
        group,
        holds: group.filter(|group| in_group(Verdict::Up, *group) && lower_is_known(*group)),
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
