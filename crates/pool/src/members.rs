//! From a service's servers and their verdicts to the ones that take new connections.
use keel_model::{AdminState, Server, Service};

/// What is known about a server's health.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It works, or nobody checks.
    Up,
    /// It doesn't.
    Down,
    /// It works and asks for no more (a drain status, an agent).
    Drain,
}

/// The outcome for one service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// For each server, in order: takes new connections.
    pub takes: Vec<bool>,
    /// Too few servers were up, so all that aren't taken out by hand are used.
    pub panic: bool,
}

/// Decides who takes new connections. `verdicts` stand in the order of the servers.
///
/// A server counts if it is online by hand and has a weight. Of those, the ones that are up; of those, the group with
/// the lowest priority number. If fewer than `panic_threshold` per cent of those that count are up, health is not
/// believed and all that count are used.
pub fn members(service: &Service, verdicts: &[Verdict]) -> Membership {
    let verdict = |i: usize| verdicts.get(i).copied().unwrap_or(Verdict::Up);
    let counts = |server: &Server| server.state == AdminState::Online && server.weight > 0;
    let counted = service.servers.iter().filter(|s| counts(s)).count();
    let up = |(i, server): &(usize, &Server)| counts(server) && verdict(*i) == Verdict::Up;
    let up_count = service.servers.iter().enumerate().filter(up).count();
    let panic = up_count * 100 < counted * usize::from(service.panic_threshold);
    let usable = |i: usize, server: &Server| counts(server) && (panic || verdict(i) == Verdict::Up);
    let group =
        service.servers.iter().enumerate().filter(|(i, s)| usable(*i, s)).map(|(_, s)| s.priority).min();
    let takes =
        service.servers.iter().enumerate().map(|(i, s)| usable(i, s) && Some(s.priority) == group).collect();
    Membership { takes, panic }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_model::{Layer4, PortSet};
    use proptest::prelude::*;
    use std::net::IpAddr;

    fn service(servers: Vec<Server>) -> Service {
        let mut service = Service::layer4(
            "web".parse().unwrap(),
            "192.168.2.200".parse().unwrap(),
            "80".parse::<PortSet>().unwrap(),
            Layer4::default(),
        );
        service.servers = servers;
        service
    }

    fn server(i: usize, weight: u16, priority: u16, state: AdminState) -> Server {
        let address: IpAddr = format!("192.168.2.{}", 101 + i).parse().unwrap();
        let mut server = Server::new(format!("rs{i}").parse().unwrap(), address);
        server.weight = weight;
        server.priority = priority;
        server.state = state;
        server
    }

    #[test]
    fn a_higher_priority_number_waits_until_every_lower_group_is_down() {
        let service = service(vec![
            server(1, 100, 0, AdminState::Online),
            server(2, 100, 0, AdminState::Online),
            server(3, 100, 5, AdminState::Online),
        ]);
        use Verdict::{Down, Up};
        assert_eq!(members(&service, &[Up, Up, Up]).takes, [true, true, false]);
        assert_eq!(members(&service, &[Down, Up, Up]).takes, [false, true, false]);
        assert_eq!(members(&service, &[Down, Down, Up]).takes, [false, false, true]);
    }

    #[test]
    fn below_the_panic_threshold_health_is_not_believed() {
        let mut service = service((0..4).map(|i| server(i, 100, 0, AdminState::Online)).collect());
        service.servers[3].state = AdminState::Halt;
        service.panic_threshold = 50;
        use Verdict::{Down, Up};
        let decided = members(&service, &[Up, Down, Down, Up]);
        assert!(decided.panic);
        assert_eq!(decided.takes, [true, true, true, false], "a halted server stays out");
        assert!(!members(&service, &[Up, Up, Down, Up]).panic);
    }

    proptest! {
        #[test]
        fn only_servers_online_by_hand_with_a_weight_take_connections(
            servers in prop::collection::vec((0u16..3, 0u16..3, 0usize..3, 0usize..3), 0..12),
            threshold in 0u8..=100,
        ) {
            let states = [AdminState::Online, AdminState::Drain, AdminState::Halt];
            let verdicts = [Verdict::Up, Verdict::Down, Verdict::Drain];
            let mut service = service(
                servers.iter().enumerate().map(|(i, (w, p, s, _))| server(i, *w, *p, states[*s])).collect(),
            );
            service.panic_threshold = threshold;
            let given: Vec<_> = servers.iter().map(|(.., v)| verdicts[*v]).collect();
            let decided = members(&service, &given);
            for (server, takes) in service.servers.iter().zip(&decided.takes) {
                prop_assert!(!takes || (server.state == AdminState::Online && server.weight > 0));
            }
            let usable = service.servers.iter().zip(&given)
                .any(|(s, v)| s.state == AdminState::Online && s.weight > 0 && *v == Verdict::Up);
            prop_assert!(!usable || decided.takes.contains(&true), "somebody works whenever somebody can");
        }
    }
}
