//! Who gets traffic under which policy.
use std::net::IpAddr;

use keel_model::{Layer4, PortSet};
use proptest::prelude::*;

use super::*;
use Verdict::{Down, Drain, Unknown, Up};

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

fn online(priorities: &[u16]) -> Service {
    service(priorities.iter().enumerate().map(|(i, p)| server(i, 100, *p, AdminState::Online)).collect())
}

fn outlook(verdicts: &[Verdict]) -> Outlook {
    Outlook { verdicts: verdicts.to_vec(), ..Outlook::default() }
}

fn takes(service: &Service, verdicts: &[Verdict]) -> Vec<bool> {
    members(service, &outlook(verdicts)).takes
}

#[test]
fn a_higher_priority_number_waits_until_every_lower_group_is_down() {
    let service = online(&[0, 0, 5]);
    assert_eq!(takes(&service, &[Up, Up, Up]), [true, true, false]);
    assert_eq!(takes(&service, &[Down, Up, Up]), [false, true, false]);
    assert_eq!(takes(&service, &[Down, Down, Up]), [false, false, true]);
}

#[test]
fn who_is_not_known_waits_for_whoever_is_known_to_be_up() {
    let service = online(&[0, 0, 5]);
    assert_eq!(takes(&service, &[Unknown, Up, Up]), [false, true, false]);
    assert_eq!(takes(&service, &[Unknown, Down, Up]), [false, false, true]);
    assert_eq!(takes(&service, &[Unknown, Down, Unknown]), [true, false, false], "better than nobody");
    assert_eq!(takes(&service, &[Unknown, Unknown, Unknown]), [true, true, false]);
    assert_eq!(takes(&service, &[Drain, Down, Down]), [false, false, false]);
}

#[test]
fn a_group_that_took_over_stays_until_somebody_says_otherwise() {
    let mut service = online(&[0, 1]);
    service.failback = Failback::Manual;
    let mut held = None;
    let mut after = |verdicts: &[Verdict]| {
        let decided = members(&service, &Outlook { held, ..outlook(verdicts) });
        held = decided.holds.or(held);
        decided.takes
    };
    assert_eq!(after(&[Unknown, Unknown]), [true, false]);
    assert_eq!(after(&[Unknown, Up]), [false, true], "it takes over, but may have been first by chance");
    assert_eq!(after(&[Up, Up]), [true, false], "so it isn't held");
    assert_eq!(after(&[Down, Up]), [false, true]);
    assert_eq!(after(&[Up, Up]), [false, true], "the primary is back, and waits");
    assert_eq!(after(&[Up, Down]), [true, false]);
    assert_eq!(after(&[Up, Up]), [true, false]);
}

#[test]
fn a_held_group_is_waited_for_until_it_is_known_to_be_down() {
    let mut service = online(&[0, 1]);
    service.failback = Failback::Manual;
    let held = |verdicts: &[Verdict]| members(&service, &Outlook { held: Some(1), ..outlook(verdicts) });
    let waiting = held(&[Up, Unknown]);
    assert_eq!(
        (waiting.takes, waiting.holds),
        (vec![false, true], None),
        "whoever is asked first wins nothing"
    );
    let found = held(&[Up, Up]);
    assert_eq!((found.takes, found.holds), (vec![false, true], Some(1)));
    let gone = held(&[Up, Down]);
    assert_eq!((gone.takes, gone.holds), (vec![true, false], Some(0)));
}

#[test]
fn without_manual_failback_nothing_is_held() {
    let service = online(&[0, 1]);
    assert_eq!(members(&service, &Outlook { held: Some(1), ..outlook(&[Up, Up]) }).takes, [true, false]);
}

#[test]
fn below_the_panic_threshold_health_is_not_believed() {
    let mut service = online(&[0, 0, 0, 0]);
    service.servers[3].state = AdminState::Halt;
    service.panic_threshold = 50;
    let decided = members(&service, &outlook(&[Up, Down, Drain, Up]));
    assert!(decided.panic && !decided.fallback);
    assert_eq!(decided.takes, [true, true, true, false], "a halted server stays out");
    assert!(!members(&service, &outlook(&[Up, Up, Down, Up])).panic);
    assert!(!members(&service, &outlook(&[Up, Unknown, Down, Up])).panic, "it may well be up");
    service.panic_action = PanicAction::Fallback;
    let decided = members(&service, &outlook(&[Up, Down, Drain, Up]));
    assert_eq!((decided.takes.contains(&true), decided.panic, decided.fallback), (false, false, true));
}

#[test]
fn a_group_that_is_down_gives_way_to_the_next_one_before_anybody_panics() {
    let mut service = online(&[0, 0, 0, 0, 1]);
    service.panic_threshold = 50;
    let decide = |service: &Service, held: Option<u16>, verdicts: &[Verdict]| {
        let decided = members(service, &Outlook { held, ..outlook(verdicts) });
        (decided.takes, decided.panic, decided.group)
    };
    let secondary = (vec![false, false, false, false, true], false, Some(1));
    assert_eq!(decide(&service, None, &[Down, Down, Down, Down, Up]), secondary);
    let primaries = vec![true, true, true, true, false];
    assert_eq!(
        decide(&service, None, &[Up, Down, Down, Down, Up]),
        (primaries.clone(), true, Some(0)),
        "of the group itself too few are up"
    );
    assert_eq!(decide(&service, None, &[Down, Down, Down, Down, Down]), (primaries, true, Some(0)));
    service.failback = Failback::Manual;
    assert_eq!(
        decide(&service, Some(1), &[Down, Down, Down, Down, Down]),
        (secondary.0.clone(), true, Some(1))
    );
    assert_eq!(decide(&service, Some(1), &[Up, Up, Down, Down, Up]), secondary, "no failback by panic");
    let over = members(&service, &Outlook { held: Some(1), ..outlook(&[Up, Down, Down, Down, Down]) });
    assert_eq!(
        (over.group, over.panic, over.holds),
        (Some(0), true, Some(0)),
        "it took over in panic, and stays"
    );
    let nobody = members(&service, &Outlook { held: Some(1), ..outlook(&[Down, Down, Down, Down, Down]) });
    assert_eq!((nobody.group, nobody.holds), (Some(1), None), "that all are used is no taking over");
    service.servers[4].state = AdminState::Halt;
    assert_eq!(decide(&service, Some(1), &[Down, Down, Down, Down, Up]).2, Some(0));
}

#[test]
fn a_held_group_that_nobody_can_ask_is_not_waited_for_and_still_held() {
    let mut service = online(&[0, 1]);
    service.failback = Failback::Manual;
    service.panic_threshold = 50;
    let outlook = |verdicts: &[Verdict]| Outlook { held: Some(1), unaskable: true, ..outlook(verdicts) };
    assert_eq!(members(&service, &outlook(&[Up, Unknown])).takes, [true, false]);
    assert_eq!(members(&service, &outlook(&[Down, Down])).takes, [false, true]);
}

#[test]
fn the_fallback_answers_when_nobody_takes_connections() {
    let mut service = online(&[0, 0]);
    assert!(members(&service, &outlook(&[Down, Drain])).fallback);
    assert!(!members(&service, &outlook(&[Down, Up])).fallback);
    service.fallback = None;
    assert!(!members(&service, &outlook(&[Down, Down])).fallback);
    service.servers.clear();
    service.fallback = "127.0.0.1:9081".parse().ok();
    assert!(members(&service, &outlook(&[])).fallback, "also where there is no server at all");
}

#[test]
fn a_share_of_a_weight_is_never_nothing() {
    let mut service = online(&[0, 0, 0, 0]);
    service.servers[1].weight = 0;
    service.servers[2].weight = 65_535;
    let shares = vec![10, 50, 200, 0];
    let decided = members(&service, &Outlook { shares, ..Outlook::default() });
    assert_eq!(decided.weights, [10, 0, 65_535, 1]);
}

proptest! {
    #[test]
    fn only_servers_online_by_hand_with_a_weight_take_connections(
        servers in prop::collection::vec((0u16..3, 0u16..3, 0usize..3, 0usize..4), 0..12),
        threshold in 0u8..=100,
        to_fallback in any::<bool>(),
        manual in any::<bool>(),
        held in prop::option::of(0u16..3),
    ) {
        let states = [AdminState::Online, AdminState::Drain, AdminState::Halt];
        let verdicts = [Up, Down, Drain, Unknown];
        let mut service = service(
            servers.iter().enumerate().map(|(i, (w, p, s, _))| server(i, *w, *p, states[*s])).collect(),
        );
        service.panic_threshold = threshold;
        service.panic_action = if to_fallback { PanicAction::Fallback } else { PanicAction::All };
        service.failback = if manual { Failback::Manual } else { Failback::Auto };
        let given: Vec<_> = servers.iter().map(|(.., v)| verdicts[*v]).collect();
        let decided = members(&service, &Outlook { held, ..outlook(&given) });
        let mut groups = Vec::new();
        for ((server, takes), verdict) in service.servers.iter().zip(&decided.takes).zip(&given) {
            prop_assert!(!takes || (server.state == AdminState::Online && server.weight > 0));
            prop_assert!(!takes || decided.panic || matches!(verdict, Up | Unknown));
            if *takes { groups.push(server.priority); }
        }
        groups.dedup();
        prop_assert!(groups.len() <= 1, "one group at a time");
        let usable = service.servers.iter().zip(&given)
            .any(|(s, v)| s.state == AdminState::Online && s.weight > 0 && matches!(v, Up | Unknown));
        prop_assert_eq!(decided.group, groups.first().copied());
        let stays = manual && held.is_some_and(|held| service.servers.iter().zip(&given)
            .any(|(s, v)| s.priority == held && s.state == AdminState::Online && s.weight > 0 && *v == Up));
        prop_assert!(!stays || decided.group.is_none() || decided.group == held, "no failback unasked");
        prop_assert!(!usable || decided.fallback || decided.takes.contains(&true), "somebody works whenever somebody can");
        prop_assert!(threshold > 0 || !usable || decided.takes.contains(&true));
        prop_assert_eq!(decided.fallback, !decided.takes.contains(&true));
    }
}
