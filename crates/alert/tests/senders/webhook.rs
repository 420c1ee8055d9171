//! Webhooks.
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use keel_model::Alerts;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;

use crate::{
    SECRET,
    liar::{Lie, liar},
    refused, send,
};

/// What somebody posted.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Posted {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A server that answers with these, then with 204 always.
pub(crate) struct Hook {
    pub(crate) port: u16,
    authority: CertificateDer<'static>,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Hook {
    pub(crate) async fn start(answers: &[(u16, &'static str)], tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (authority, acceptor) = crate::certificate();
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let hook = Self { port, authority, posted: posted.clone() };
        let answers = answers.to_vec();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (posted, answers, acceptor) = (posted.clone(), answers.clone(), acceptor.clone());
                let service = service_fn(move |request| answer(request, posted.clone(), answers.clone()));
                tokio::spawn(async move {
                    if tls {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    } else {
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        hook
    }

    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    posted: Arc<Mutex<Vec<Posted>>>,
    answers: Vec<(u16, &'static str)>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut posted = posted.lock().unwrap();
    let (status, text) = answers.get(posted.len()).copied().unwrap_or((204, ""));
    posted.push(Posted { path: head.uri.to_string(), headers: head.headers, body });
    let answer = Response::builder().status(status).header("Location", "http://192.0.2.1/elsewhere");
    Ok(answer.body(Full::new(Bytes::from_static(text.as_bytes()))).unwrap())
}

pub(crate) fn alerts(url: String) -> Alerts {
    Alerts { webhook: Some(url), webhook_secret: Some("hook".to_owned()), ..Alerts::default() }
}

#[tokio::test]
async fn a_report_is_posted_as_signed_json() {
    let hook = Hook::start(&[], false).await;
    let tested = send(&alerts(format!("http://localhost:{}/hidden/path?key=1", hook.port)), None).await;
    assert_eq!(tested.outcome, Ok(None));
    assert_eq!(tested.to, format!("http://localhost:{}", hook.port));
    let posted = hook.posted().remove(0);
    assert_eq!(posted.path, "/hidden/path?key=1");
    assert_eq!(posted.header("content-type"), "application/json");
    assert_eq!(posted.header("host"), format!("localhost:{}", hook.port));
    assert_eq!(posted.json()["version"], 1);
    assert_eq!(posted.json()["events"][0]["severity"], "notice");

    let second = posted.header("x-evenkeel-timestamp");
    let age = jiff::Timestamp::now().as_second() - second.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
    let signed = [second.as_bytes(), b".", &posted.body].concat();
    let digits = posted.header("x-evenkeel-signature").strip_prefix("sha256=").unwrap().as_bytes();
    let tag: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &signed, &tag).unwrap();
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let hook = Hook::start(&[], false).await;
    let unsigned = Alerts { webhook_secret: None, ..alerts(format!("http://127.0.0.1:{}", hook.port)) };
    assert_eq!(send(&unsigned, None).await.outcome, Ok(None));
    let posted = hook.posted().remove(0);
    assert_eq!(posted.path, "/");
    assert!(!posted.headers.contains_key("x-evenkeel-signature"));
}

#[tokio::test]
async fn https_reaches_the_right_server_or_none() {
    let hook = Hook::start(&[], true).await;
    let alerts = alerts(format!("https://localhost:{}/", hook.port));
    assert_eq!(send(&alerts, Some(&hook.authority)).await.outcome, Ok(None));
    let why = refused(&alerts, None).await;
    assert!(why.ends_with("failed: TLS: the certificate is signed by nobody who is trusted here"), "{why}");
    assert_eq!(hook.posted().len(), 1);
}

#[tokio::test]
async fn anything_but_success_is_a_failure_that_shows_no_path() {
    let hook = Hook::start(&[(500, "no \r\n database"), (302, ""), (404, "")], false).await;
    let alerts = alerts(format!("http://localhost:{}/T0/hidden", hook.port));
    let origin = format!("webhook http://localhost:{}", hook.port);
    assert_eq!(refused(&alerts, None).await, format!("{origin} answered HTTP 500: no \\r\\n database"));
    assert_eq!(
        refused(&alerts, None).await,
        format!("{origin} answered HTTP 302 (redirects are not followed)")
    );
    assert_eq!(refused(&alerts, None).await, format!("{origin} answered HTTP 404"));
}

#[tokio::test]
async fn whatever_a_server_does_it_ends_in_time_and_in_one_line() {
    let attempt = async |lie| refused(&alerts(format!("http://127.0.0.1:{}/", liar(lie).await)), None).await;
    let garbage = attempt(Lie::Garbage).await;
    assert!(garbage.ends_with("gave an answer that isn't HTTP"), "{garbage}");
    attempt(Lie::Close).await;
    attempt(Lie::Flood("HTTP/1.1 200 ")).await;
    attempt(Lie::Flood("a: b\r\n")).await;
    let nobody = refused(&alerts("http://127.0.0.1:1/".to_owned()), None).await;
    assert_eq!(nobody, "webhook http://127.0.0.1:1 can't be reached: connection refused");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let hang = refused(&alerts(format!("http://127.0.0.1:{}/", liar(Lie::Hang).await)), None).await;
    assert!(hang.ends_with("gave no answer in 10 s while waiting for the answer"), "{hang}");
}
