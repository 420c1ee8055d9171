//! Mail.
use base64::{Engine, prelude::BASE64_STANDARD};
use keel_model::{Alerts, MailSecurity};

use crate::{
    SECRET,
    liar::{Lie, liar},
    refused,
    relay::{Manner, Relay, Speaks},
    send,
};

fn alerts(port: u16, security: MailSecurity) -> Alerts {
    Alerts {
        email_to: vec!["ops@example.org".to_owned(), "night@example.org".to_owned()],
        email_from: Some("lb@example.org".to_owned()),
        smtp: Some(format!("localhost:{port}")),
        smtp_security: security,
        ..Alerts::default()
    }
}

fn signed_in(port: u16, security: MailSecurity) -> Alerts {
    Alerts {
        smtp_user: Some("lb".to_owned()),
        smtp_secret: Some("relay".to_owned()),
        ..alerts(port, security)
    }
}

#[tokio::test]
async fn a_mail_arrives_with_all_that_it_needs() {
    let relay = Relay::start(Speaks::Clear, "").await;
    let tested = send(&alerts(relay.port, MailSecurity::Opportunistic), None).await;
    assert_eq!(tested.outcome, Ok(None));
    let heard = relay.heard();
    assert!(heard.contains(&"MAIL FROM:<lb@example.org>".to_owned()), "{heard:#?}");
    assert!(heard.contains(&"RCPT TO:<night@example.org>".to_owned()), "{heard:#?}");
    assert_eq!(heard.last().unwrap(), "QUIT");
    let mail = relay.heard_one("From: ");
    for part in [
        "From: lb@example.org\r\n",
        "To: ops@example.org, night@example.org\r\n",
        "Subject: [lb1] node lb1: this is a test: alerts arrive\r\n",
        "Date: ",
        "Message-ID: <",
        "Auto-Submitted: auto-generated\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "NOTICE     node lb1: this is a test",
    ] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert_eq!(mail.matches('\n').count(), mail.matches("\r\n").count(), "RFC 5321 §2.3.8: {mail:?}");
}

#[tokio::test]
async fn by_chance_encrypted_means_whoever_the_relay_is() {
    let relay = Relay::start(Speaks::StartTls, "AUTH PLAIN LOGIN").await;
    assert_eq!(send(&signed_in(relay.port, MailSecurity::Opportunistic), None).await.outcome, Ok(None));
    let expected = BASE64_STANDARD.encode(format!("\0lb\0{SECRET}"));
    assert_eq!(relay.heard_one("AUTH"), format!("AUTH PLAIN {expected}"));
    relay.heard_one("STARTTLS");
    // Its certificate is for `localhost` only.
    let by_address = Alerts {
        smtp: Some(format!("127.0.0.1:{}", relay.port)),
        ..signed_in(1, MailSecurity::Opportunistic)
    };
    assert_eq!(send(&by_address, None).await.outcome, Ok(None));
}

#[tokio::test]
async fn who_asks_for_tls_gets_it_from_the_right_relay_or_not_at_all() {
    for (speaks, security) in [(Speaks::StartTls, MailSecurity::StartTls), (Speaks::Tls, MailSecurity::Tls)] {
        let relay = Relay::start(speaks, "AUTH PLAIN").await;
        let alerts = signed_in(relay.port, security);
        assert_eq!(send(&alerts, Some(&relay.authority)).await.outcome, Ok(None), "{security:?}");
        relay.heard_one("AUTH PLAIN");
        relay.heard.lock().unwrap().clear();
        let why = refused(&alerts, None).await;
        assert!(why.contains("signed by nobody who is trusted here"), "{why}");
        let stranger = Alerts { smtp: Some(format!("127.0.0.1:{}", relay.port)), ..alerts };
        let why = refused(&stranger, Some(&relay.authority)).await;
        assert!(why.contains("the certificate is for another name"), "{why}");
        let heard = relay.heard();
        assert!(!heard.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{heard:#?}");
    }
    let clear = Relay::start(Speaks::Clear, "").await;
    let why = refused(&alerts(clear.port, MailSecurity::StartTls), None).await;
    assert_eq!(
        why,
        format!("mail relay localhost:{} offers no STARTTLS, without which nothing is sent", clear.port)
    );
    let why = refused(&alerts(clear.port, MailSecurity::Tls), None).await;
    assert!(why.ends_with("no TLS is spoken on this port"), "{why}");
}

#[tokio::test]
async fn what_is_slipped_in_before_the_handshake_is_not_taken_for_protected() {
    let relay = Relay::start(Speaks::Injects, "").await;
    let why = refused(&signed_in(relay.port, MailSecurity::Opportunistic), None).await;
    assert!(why.contains("failed at STARTTLS: TLS: no TLS is spoken"), "{why}");
}

#[tokio::test]
async fn a_password_goes_in_clear_text_only_where_that_is_asked_for() {
    let relay = Relay::start(Speaks::Clear, "AUTH LOGIN").await;
    let why = refused(&signed_in(relay.port, MailSecurity::Opportunistic), None).await;
    assert!(why.ends_with("offers no TLS, and the password is not sent in clear text"), "{why}");
    assert_eq!(send(&signed_in(relay.port, MailSecurity::Off), None).await.outcome, Ok(None));
    let heard = relay.heard();
    assert!(heard.contains(&BASE64_STANDARD.encode("lb")), "{heard:#?}");
    assert!(heard.contains(&BASE64_STANDARD.encode(SECRET)), "{heard:#?}");
    let other = Relay::start(Speaks::Clear, "AUTH GSSAPI").await;
    let why = refused(&signed_in(other.port, MailSecurity::Off), None).await;
    assert!(why.ends_with("offers no way to sign in that is known here (PLAIN, LOGIN)"), "{why}");
}

#[tokio::test]
async fn refusals_say_what_was_refused_and_never_the_password() {
    let relay = async |answers: &[(&'static str, &'static str)]| {
        Relay::with(Manner { speaks: Speaks::Clear, offers: "AUTH PLAIN", answers: answers.to_vec() }).await
    };
    let sender = relay(&[("MAIL", "550 5.7.1 not you")]).await;
    let why = refused(&alerts(sender.port, MailSecurity::Off), None).await;
    assert_eq!(why, format!("mail relay localhost:{} refused the sender: 550 5.7.1 not you", sender.port));

    let all = relay(&[("RCPT", "550 nobody here")]).await;
    let why = refused(&alerts(all.port, MailSecurity::Off), None).await;
    assert!(why.ends_with("refused the recipient ops@example.org: 550 nobody here"), "{why}");

    let one = relay(&[("RCPT TO:<ops", "451 later\x1b[2J")]).await;
    let remark = send(&alerts(one.port, MailSecurity::Off), None).await.outcome.unwrap().unwrap();
    assert!(remark.ends_with("refused the recipient ops@example.org: 451 later\\u{1b}[2J"), "{remark}");
    one.heard_one("From: ");

    let login = relay(&[("AUTH", "535 wrong")]).await;
    let why = refused(&signed_in(login.port, MailSecurity::Off), None).await;
    assert!(why.ends_with("refused the login: 535 wrong"), "{why}");
    let parrot = relay(&[("AUTH", "535 not tr0ub4dor&3")]).await;
    let why = refused(&signed_in(parrot.port, MailSecurity::Off), None).await;
    assert!(why.ends_with("refused the login, in words that hold the password"), "{why}");

    let busy = relay(&[("DATA", "452 disk full")]).await;
    let why = refused(&alerts(busy.port, MailSecurity::Off), None).await;
    assert!(why.ends_with("refused the mail: 452 disk full"), "{why}");
}

#[tokio::test]
async fn whatever_a_relay_does_it_ends_in_time_and_in_one_line() {
    let attempt = async |lie| refused(&alerts(liar(lie).await, MailSecurity::Opportunistic), None).await;
    let garbage = attempt(Lie::Garbage).await;
    assert!(garbage.contains("the greeting"), "{garbage}");
    let close = attempt(Lie::Close).await;
    assert!(close.contains("the greeting"), "{close}");
    for line in ["x", "220-more\r\n"] {
        let flood = attempt(Lie::Flood(line)).await;
        assert!(flood.contains("more than any") || flood.contains("too"), "{flood}");
    }
    let nobody = refused(&alerts(1, MailSecurity::Off), None).await;
    assert_eq!(nobody, "mail relay localhost:1 can't be reached: connection refused");
}

#[tokio::test]
async fn a_relay_that_says_nothing_is_given_up() {
    let hang = refused(&alerts(liar(Lie::Hang).await, MailSecurity::Opportunistic), None).await;
    assert!(hang.ends_with("gave no answer in 15 s while waiting for the greeting"), "{hang}");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let alerts =
        Alerts { smtp_secret: Some("missing".to_owned()), ..signed_in(1, MailSecurity::Opportunistic) };
    let why = refused(&alerts, None).await;
    assert_eq!(
        why,
        "there is no secret called `missing`: write it as secrets/missing, readable by root alone"
    );
}
