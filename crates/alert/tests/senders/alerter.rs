//! The driver with its channels.
use std::time::{Duration, Instant};

use keel_alert::{Alerter, ChannelKind, Severity};
use keel_model::{Alerts, MailSecurity};

use crate::{
    event, eventually,
    liar::{Lie, liar},
    relay::{Relay, Speaks},
    webhook::{Hook, alerts},
    with_files,
};

#[tokio::test]
async fn what_fails_is_tried_again_together_with_what_happened_since() {
    let hook = Hook::start(&[(500, "later")], false).await;
    let settings =
        Alerts { every: Duration::from_secs(1), ..alerts(format!("http://127.0.0.1:{}/", hook.port)) };
    let (alerter, worker) = with_files(None, |files| Alerter::new(&settings, files));
    let work = tokio::spawn(worker.run());
    alerter.tell(event("rs1", Severity::Problem, "connection refused"));
    alerter.tell(event("rs2", Severity::Problem, "HTTP 503, expected 200"));
    eventually("the first attempt", || alerter.status().channels[0].last_error.is_some()).await;
    let status = &alerter.status().channels[0];
    assert_eq!(
        status.last_error.as_ref().unwrap().why,
        format!("webhook http://127.0.0.1:{} answered HTTP 500: later", hook.port)
    );
    assert_eq!((status.channel, status.waiting, status.last_success), (ChannelKind::Webhook, 1, None));
    alerter.tell(event("rs1", Severity::Recovered, "HTTP 200"));
    alerter.tell(event("rs2", Severity::Recovered, "HTTP 200"));
    eventually("the second attempt", || alerter.status().channels[0].last_success.is_some()).await;
    let posted = hook.posted();
    let title = |at: usize| posted[at].json()["title"].as_str().unwrap().to_owned();
    assert_eq!(posted.len(), 2);
    assert_eq!(title(0), "[lb1] Problem: 2 servers down in service web");
    assert!(title(1).starts_with("[lb1] All clear after "), "{}", title(1));
    let words = posted[1].json()["events"][0]["text"].clone();
    assert_eq!(words, "2 changes, now up: HTTP 200 (was down: connection refused)");
    assert_eq!(alerter.status().channels[0].waiting, 0);
    drop(alerter);
    work.await.unwrap();
}

#[tokio::test]
async fn a_channel_that_hangs_holds_up_neither_the_others_nor_who_tells() {
    let (hook, mute) = (Hook::start(&[], false).await, liar(Lie::Hang).await);
    let settings = Alerts {
        email_to: vec!["ops@example.org".to_owned()],
        smtp: Some(format!("127.0.0.1:{mute}")),
        ..alerts(format!("http://127.0.0.1:{}/", hook.port))
    };
    let (alerter, worker) = with_files(None, |files| Alerter::new(&settings, files));
    let work = tokio::spawn(worker.run());
    let begun = Instant::now();
    // The test has one thread: the worker takes nothing in until this waits, as if it were stuck.
    for number in 0..20_000 {
        alerter.tell(event(&format!("rs{number}"), Severity::Problem, "connection refused"));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(alerter.status().lost_events, 20_000 - 16_384);
    eventually("the webhook", || !hook.posted().is_empty()).await;
    let json = hook.posted()[0].json();
    assert_eq!(json["more"], 19_000, "what didn't fit and what was lost is counted");
    assert_eq!(alerter.status().channels[0].waiting, 1);

    // A relay that works, at last: what waited arrives at once.
    let relay = Relay::start(Speaks::Clear, "").await;
    let mended = Alerts {
        smtp: Some(format!("127.0.0.1:{}", relay.port)),
        smtp_security: MailSecurity::Off,
        ..settings
    };
    with_files(None, |files| alerter.configure(&mended, files));
    eventually("the mail", || alerter.status().channels[0].waiting == 0).await;
    let mail = relay.heard_one("From: ");
    assert!(mail.contains("Subject: [lb1] Problem: 1000 servers down in service web"), "{mail}");
    assert_eq!(hook.posted().len(), 1, "the webhook was told already");
    assert_eq!(alerter.status().channels[0].last_error, None);
    drop(alerter);
    work.await.unwrap();
}

#[tokio::test]
async fn what_is_gathered_when_it_ends_is_told_and_a_missing_secret_is_said() {
    let hook = Hook::start(&[], false).await;
    let settings = Alerts {
        email_to: vec!["ops@example.org".to_owned()],
        smtp: Some("127.0.0.1:1".to_owned()),
        smtp_user: Some("lb".to_owned()),
        smtp_secret: Some("missing".to_owned()),
        ..alerts(format!("http://127.0.0.1:{}/", hook.port))
    };
    let (alerter, worker) = with_files(None, |files| Alerter::new(&settings, files));
    let work = tokio::spawn(worker.run());
    let status = alerter.status();
    let why = &status.channels[0].last_error.as_ref().unwrap().why;
    assert!(why.contains("no secret called `missing`"), "{why}");
    alerter.tell(event("rs1", Severity::Problem, "connection refused"));
    drop(alerter);
    work.await.unwrap();
    assert_eq!(hook.posted().len(), 1);
}
