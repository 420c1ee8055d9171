//! Channels for golden tests.

use jiff::SignedDuration;

use super::noon;
use crate::types::{AlertChannel, AlertChannelKind, AlertFailure, AlertTest, Alerts};

const REFUSED: &str =
    "mail relay mail.example.org:25 refused the recipient late@example.org: 550 5.1.1 no such user";
const SILENT: &str = "webhook https://hooks.example.org can't be reached: connection refused";

/// One that works for some, one that doesn't work, one that does.
pub fn alerts() -> Alerts {
    let channel = |channel, to: &str| AlertChannel {
        channel,
        to: to.to_owned(),
        last_success: Some(noon() - SignedDuration::from_secs(90)),
        last_error: None,
        waiting: 0,
        lost: 0,
    };
    let failure = |seconds, why: &str| {
        Some(AlertFailure { at: noon() - SignedDuration::from_secs(seconds), why: why.to_owned() })
    };
    Alerts {
        channels: vec![
            AlertChannel {
                last_error: failure(90, REFUSED),
                ..channel(AlertChannelKind::Email, "ops@example.org, late@example.org")
            },
            AlertChannel {
                last_success: None,
                last_error: failure(4, SILENT),
                waiting: 2,
                lost: 1,
                ..channel(AlertChannelKind::Webhook, "https://hooks.example.org")
            },
            AlertChannel {
                last_error: failure(86_400, "syslog server 192.0.2.5:514 can't be reached: no route to host"),
                ..channel(AlertChannelKind::Syslog, "192.0.2.5:514")
            },
        ],
        lost_events: 0,
    }
}

/// What a test of them comes to.
pub fn alerts_test() -> Vec<AlertTest> {
    let outcome = |sent, remark: Option<&str>, channel: AlertChannel| AlertTest {
        channel: channel.channel,
        to: channel.to,
        sent,
        remark: remark.map(str::to_owned),
    };
    let outcomes = [(true, Some(REFUSED)), (false, Some(SILENT)), (true, None)];
    outcomes
        .into_iter()
        .zip(alerts().channels)
        .map(|((sent, remark), channel)| outcome(sent, remark, channel))
        .collect()
}
