//! Health for golden tests.

use jiff::SignedDuration;

use super::{ip, noon};
use crate::types::{
    CheckHealth, CheckOutcome, CheckTest, HealthChange, HealthVerdict, LastAnswer, Progress, ServerHealth,
    ServerState, TestStep,
};

fn check(target: &str, verdict: HealthVerdict, outcome: CheckOutcome, reason: &str) -> CheckHealth {
    CheckHealth {
        kind: "http".to_owned(),
        named: None,
        target: target.to_owned(),
        verdict,
        last: Some(LastAnswer {
            at: noon() - SignedDuration::from_secs(2),
            outcome,
            reason: reason.to_owned(),
            milliseconds: 3.25,
        }),
        next_milliseconds: Some(2_000),
        progress: None,
        asked: 1_284,
        failed: 7,
        certificate_ends: None,
    }
}

/// Three servers: one works, one doesn't, one is on its way.
pub fn health() -> Vec<ServerHealth> {
    use HealthVerdict::{Down, Up};
    let server = |name: &str, address: &str, verdict, check: CheckHealth| ServerHealth {
        service: "HTTP-Cluster".to_owned(),
        server: name.to_owned(),
        ip: Some(ip(address)),
        state: if verdict == Up { ServerState::Up } else { ServerState::Down },
        verdict,
        reason: check.last.as_ref().map_or_else(String::new, |last| last.reason.clone()),
        since: Some(noon() - SignedDuration::from_secs(754)),
        share: 100,
        takes: verdict == Up,
        checks: vec![check],
        history: Vec::new(),
    };
    let mut down = server(
        "IIS2",
        "192.168.2.102",
        Down,
        check("192.168.2.102:80", Down, CheckOutcome::Bad, "HTTP 500, expected 200"),
    );
    let change = |seconds, from, to, reason: &str| HealthChange {
        at: noon() - SignedDuration::from_secs(seconds),
        from,
        to,
        reason: reason.to_owned(),
    };
    down.history = vec![
        change(86_400, HealthVerdict::Unknown, Up, "HTTP 200"),
        change(754, Up, Down, "HTTP 500, expected 200"),
    ];
    let mut slow = server(
        "IIS3",
        "192.168.2.103",
        Up,
        check("192.168.2.103:80", Up, CheckOutcome::Bad, "no answer in 2s while waiting for the answer"),
    );
    slow.share = 30;
    slow.checks[0].progress = Some(Progress { to: Down, have: 1, need: 3 });
    vec![
        server("IIS1", "192.168.2.101", Up, check("192.168.2.101:80", Up, CheckOutcome::Good, "HTTP 200")),
        down,
        slow,
    ]
}

/// A check that was carried out.
pub fn health_test() -> Vec<CheckTest> {
    let step = |milliseconds, text: &str| TestStep { milliseconds, text: text.to_owned() };
    vec![CheckTest {
        service: "HTTP-Cluster".to_owned(),
        server: "IIS2".to_owned(),
        kind: "http".to_owned(),
        target: "192.168.2.102:80".to_owned(),
        outcome: CheckOutcome::Bad,
        reason: "HTTP 500, expected 200".to_owned(),
        milliseconds: 3.25,
        steps: vec![
            step(0.4, "connected to 192.168.2.102:80"),
            step(0.5, "sent 72 bytes: GET /alive HTTP/1.1\\r\\nHost: 192.168.2.102\\r\\n"),
            step(3.2, "received 118 bytes: HTTP/1.1 500 Internal Server Error\\r\\n"),
            step(3.25, "HTTP 500, expected 200"),
        ],
    }]
}
