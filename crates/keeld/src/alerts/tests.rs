//! How services and certificates are judged, and in which words.
use jiff::SignedDuration;
use keel_model::load_cluster;

use super::*;

fn service(more: &str, servers: &[&str]) -> Service {
    let servers: String = (servers.iter().enumerate())
        .map(|(i, more)| {
            format!("[[service.server]]\nname = \"rs{i}\"\naddress = \"10.0.0.{}\"\n{more}\n", i + 1)
        })
        .collect();
    let text =
        format!("[[service]]\nname = \"web\"\naddress = \"10.0.0.200\"\nports = \"80\"\n{more}\n{servers}");
    let (cluster, problems) = load_cluster(&text);
    cluster.unwrap_or_else(|| panic!("{problems:?}")).services.remove(0)
}

/// How a service is and what is said of it.
fn judged(service: &Service, verdicts: &[Verdict]) -> (Condition, String) {
    let outlook = Outlook { verdicts: verdicts.to_vec(), ..Outlook::default() };
    let membership = members(service, &outlook);
    (service_condition(&membership, &outlook), service_words(service, &membership, &outlook))
}

#[test]
fn a_service_is_bad_when_no_server_takes_connections() {
    use Verdict::{Down, Drain, Unknown, Up};
    let web = service("fallback = \"off\"", &["", ""]);
    assert_eq!(
        judged(&web, &[Up, Down]),
        (Condition::Fine, "1 of 2 servers is up: it takes connections".to_owned())
    );
    assert_eq!(
        judged(&web, &[Down, Down]),
        (Condition::Bad, "0 of 2 servers are up: nobody answers".to_owned())
    );
    assert_eq!(judged(&web, &[Down, Drain]).0, Condition::Bad);
    let page = service("", &["", ""]);
    assert_eq!(
        judged(&page, &[Down, Down]),
        (Condition::Bad, "0 of 2 servers are up: the fallback 127.0.0.1:9081 answers".to_owned())
    );
    assert_eq!(
        judged(&web, &[Unknown, Down]).0,
        Condition::Unknown,
        "nothing is known of the one that is left"
    );
    let one = service("fallback = \"off\"", &["", "state = \"halt\""]);
    assert_eq!(
        judged(&one, &[Down, Up]),
        (Condition::Bad, "0 of 1 server are up: nobody answers".to_owned())
    );
}

#[test]
fn a_service_whose_health_is_not_believed_says_so() {
    use Verdict::{Down, Up};
    let web = service("panic_threshold = 50", &["", "", ""]);
    assert_eq!(
        judged(&web, &[Up, Down, Down]),
        (
            Condition::Panics,
            "1 of 3 servers is up: less than 50 %, so all are used, whatever their checks say".to_owned()
        )
    );
    let careful =
        service("fallback = \"off\"\npanic_threshold = 50\npanic_action = \"fallback\"", &["", "", ""]);
    assert_eq!(
        judged(&careful, &[Up, Down, Down]),
        (Condition::Bad, "1 of 3 servers is up: nobody answers".to_owned())
    );
}

#[test]
fn what_is_taken_out_by_hand_does_not_count() {
    let servers = service("", &["", "state = \"halt\"", "state = \"drain\"", "weight = 0"]).servers;
    assert_eq!(servers.iter().map(counts).collect::<Vec<_>>(), [true, false, false, false]);
}

#[test]
fn a_certificate_is_told_of_as_soon_as_it_ends_within_so_many_days() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let after = |hours| now + SignedDuration::from_hours(hours);
    for (hours, condition, words) in [
        (22 * 24, Condition::Fine, "it ends in 22 days, on 2026-03-23 12:00 UTC"),
        (21 * 24, Condition::Fine, "it ends in 21 days, on 2026-03-22 12:00 UTC"),
        (21 * 24 - 1, Condition::Bad, "it ends in 20 days, on 2026-03-22 11:00 UTC"),
        (30, Condition::Bad, "it ends in a day, on 2026-03-02 18:00 UTC"),
        (3, Condition::Bad, "it ends within a day, on 2026-03-01 15:00 UTC"),
        (-3, Condition::Bad, "it ended on 2026-03-01 09:00 UTC"),
    ] {
        let ends = after(hours);
        assert_eq!(certificate_condition(ends, now, 21), condition, "{words}");
        assert_eq!(certificate_words(ends, now), words);
    }
}
