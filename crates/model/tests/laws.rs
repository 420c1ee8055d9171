//! Laws that hold for every configuration, looked for at random.

use keel_model::testing::{Rng, valid_cluster, valid_node, wrong_configurations};
use keel_model::{
    PortSet, diff, diff_node, edit, format_duration, load_cluster, load_node, parse_duration, realserver,
    render_cluster, render_node,
};
use proptest::prelude::*;

fn ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let range = (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let short = (1..=1000u16, 0..=20u16).prop_map(|(from, more)| (from, from + more));
    prop::collection::vec(prop_oneof![short, range], 1..8)
}

proptest! {
    #[test]
    fn port_sets_survive_being_written(ranges in ranges()) {
        let ports = PortSet::from_ranges(ranges.clone()).unwrap();
        prop_assert_eq!(&ports.to_string().parse::<PortSet>().unwrap(), &ports);
        for probe in ranges.iter().flat_map(|&(from, to)| [from, to, from.saturating_sub(1), to.saturating_add(1)]) {
            let expected = ranges.iter().any(|&(from, to)| from <= probe && probe <= to);
            prop_assert_eq!(ports.contains(probe), expected);
        }
        let written: Vec<(u16, u16)> = ports.ranges().collect();
        prop_assert!(written.windows(2).all(|pair| u32::from(pair[0].1) + 1 < u32::from(pair[1].0)));
        prop_assert_eq!(ports.iter().count(), ports.len());
    }

    #[test]
    fn port_sets_overlap_when_they_share_a_port(a in ranges(), b in ranges()) {
        let (a, b) = (PortSet::from_ranges(a).unwrap(), PortSet::from_ranges(b).unwrap());
        prop_assert_eq!(a.overlap(&b), a.iter().find(|port| b.contains(*port)));
    }

    #[test]
    fn durations_survive_being_written(millis in 1u64..4_000_000_000) {
        let duration = std::time::Duration::from_millis(millis);
        prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "\\PC{0,200}") {
        let (cluster, problems) = load_cluster(&text);
        prop_assert_eq!(cluster.is_none(), problems.iter().any(keel_model::Problem::is_error));
        let (node, problems) = load_node(&text);
        prop_assert_eq!(node.is_none(), problems.iter().any(keel_model::Problem::is_error));
        let _ = (text.parse::<PortSet>(), parse_duration(&text), text.parse::<keel_model::Host>());
    }

    #[test]
    fn no_mangled_file_makes_the_readers_panic(seed: u64, cuts in prop::collection::vec((0.0..1.0f64, 0..40usize, "\\PC{0,6}"), 1..6)) {
        let mut text: Vec<char> = valid_cluster(seed).chars().collect();
        for (at, length, new) in cuts {
            let from = (at * text.len() as f64) as usize;
            let to = (from + length).min(text.len());
            text.splice(from..to, new.chars());
        }
        let text: String = text.into_iter().collect();
        let (cluster, problems) = load_cluster(&text);
        prop_assert_eq!(cluster.is_none(), problems.iter().any(keel_model::Problem::is_error));
        // Edits must not panic either, whatever they find.
        for edited in [
            edit::remove_service(&text, "svc-0"),
            edit::remove_server(&text, "svc-1", "rs-0"),
            edit::set_weight(&text, "svc-0", "rs-1", 7),
            edit::set_service(&text, "svc-1", "health.interval", "7s"),
            edit::add_server(&text, "svc-0", "new", &[("address", "10.0.0.1")]),
        ] {
            let _ = edited;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reading_what_was_rendered_gives_the_same(seed: u64) {
        let cluster = load_cluster(&valid_cluster(seed)).0.unwrap();
        let text = render_cluster(&cluster);
        let (again, problems) = load_cluster(&text);
        prop_assert_eq!(again.as_ref(), Some(&cluster), "{:?}\n{}", problems, text);
        prop_assert_eq!(render_cluster(&cluster), render_cluster(&again.unwrap()));
        let node = load_node(&valid_node(seed)).0.unwrap();
        prop_assert_eq!(load_node(&render_node(&node)).0, Some(node));
    }

    #[test]
    fn two_clusters_differ_exactly_when_the_diff_says_so(seed: u64) {
        let (a, b) = (load_cluster(&valid_cluster(seed)).0.unwrap(), load_cluster(&valid_cluster(seed ^ 1)).0.unwrap());
        prop_assert!(diff(&a, &a).is_empty());
        prop_assert_eq!(a == b, diff(&a, &b).is_empty());
        let (a, b) = (load_node(&valid_node(seed)).0.unwrap(), load_node(&valid_node(seed ^ 1)).0.unwrap());
        prop_assert_eq!(a == b, diff_node(&a, &b).is_empty());
    }

    #[test]
    fn adding_and_removing_leaves_the_text_as_it_was(seed: u64) {
        let text = valid_cluster(seed);
        let (service, server) = (format!("svc-{}", Rng::new(seed).below(2)), [("address", "10.0.0.1")]);
        let added = edit::add_server(&text, &service, "new", &server).unwrap();
        prop_assert!(load_cluster(&added).1.iter().all(|problem| problem.path.contains("address") || !problem.is_error()));
        prop_assert_eq!(edit::remove_server(&added, &service, "new").unwrap(), text.clone());
        let added = edit::add_service(&text, "new", &[("address", "10.200.0.1"), ("ports", "80")]).unwrap();
        prop_assert!(load_cluster(&added).0.is_some());
        prop_assert_eq!(edit::remove_service(&added, "new").unwrap(), text);
    }

    #[test]
    fn an_edit_changes_what_it_says_and_nothing_else(seed: u64, weight: u16) {
        let text = valid_cluster(seed);
        let before = load_cluster(&text).0.unwrap();
        let after = load_cluster(&edit::set_weight(&text, "svc-1", "rs-0", weight).unwrap()).0.unwrap();
        let old = before.services[1].servers[0].weight;
        let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
        let expected = format!("service svc-1: server rs-0: weight {old} -> {weight}");
        prop_assert_eq!(lines, if old == weight { vec![] } else { vec![expected] });
        let mut expected = before.clone();
        expected.services[1].servers[0].weight = weight;
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn removing_a_service_leaves_the_others_as_they_were(seed: u64) {
        let text = valid_cluster(seed);
        let before = load_cluster(&text).0.unwrap();
        let after = load_cluster(&edit::remove_service(&text, "svc-1").unwrap()).0.unwrap();
        let mut expected = before;
        expected.services.remove(1);
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn every_service_has_instructions_for_every_system(seed: u64) {
        let cluster = load_cluster(&valid_cluster(seed)).0.unwrap();
        for service in &cluster.services {
            for os in realserver::Os::ALL {
                let told = realserver::instructions(service, *os, realserver::gateway_for(&cluster, service));
                prop_assert!(!told.summary.is_empty());
                let json = serde_json::to_string(&told).unwrap();
                prop_assert_eq!(serde_json::from_str::<realserver::Instructions>(&json).unwrap(), told);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    assert_eq!(wrong_configurations(7, 50), wrong_configurations(7, 50));
}

#[test]
fn json_has_the_keys_of_the_file() {
    let cluster = load_cluster(&valid_cluster(3)).0.unwrap();
    let json = serde_json::to_value(&cluster).unwrap();
    assert_eq!(json["service"][0]["name"], "svc-0");
    assert_eq!(json["service"][0]["health"]["rise"], cluster.services[0].health.rise);
    assert!(json["heartbeat"]["keepalive"].is_string());
}
