//! Mail, webhook and syslog against servers of the test's own: good ones, and ones that refuse, hang, lie and flood.
#![expect(clippy::unwrap_used, reason = "a test that can't go on panics")]

mod alerter;
mod liar;
mod mail;
mod relay;
mod syslog;
mod webhook;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keel_alert::{Alerter, Event, Files, Severity, Subject, Tested};
use keel_model::Alerts;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_rustls::TlsAcceptor;

/// What every secret is.
const SECRET: &str = "tr0ub4dor&3";
const PATIENCE: Duration = Duration::from_secs(30);

/// The files of a node that has this authority.
fn with_files<T>(authority: Option<&CertificateDer<'static>>, use_them: impl FnOnce(&Files<'_>) -> T) -> T {
    let read = |name: &str| match name {
        "missing" => Ok(None),
        _ => Ok(Some(format!("{SECRET}\n").into_bytes())),
    };
    use_them(&Files {
        secret: &read,
        secrets: "secrets".into(),
        authorities: authority.into_iter().cloned().collect(),
    })
}

/// Sends a test report over the one channel there is.
async fn send(alerts: &Alerts, authority: Option<&CertificateDer<'static>>) -> Tested {
    let (alerter, _worker) = with_files(authority, |files| Alerter::new(alerts, files));
    let mut tested = alerter.test("lb1").await;
    assert_eq!(tested.len(), 1, "{tested:?}");
    tested.remove(0)
}

/// Sends a test report that doesn't arrive, and says why.
async fn refused(alerts: &Alerts, authority: Option<&CertificateDer<'static>>) -> String {
    let why = send(alerts, authority).await.outcome.unwrap_err().to_string();
    assert!(!why.contains('\n') && !why.contains(SECRET), "{why:?}");
    why
}

/// A certificate for `localhost` that nobody has signed, and what accepts with it.
fn certificate() -> (CertificateDer<'static>, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (made.cert.der().clone(), TlsAcceptor::from(Arc::new(config)))
}

fn event(server: &str, severity: Severity, text: &str) -> Event {
    Event {
        at: jiff::Timestamp::now(),
        node: "lb1".to_owned(),
        subject: Subject::Server { service: "web".to_owned(), server: server.to_owned() },
        severity,
        text: text.to_owned(),
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
