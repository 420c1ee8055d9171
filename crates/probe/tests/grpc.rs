//! gRPC health, against a server that says what it is told to say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use keel_pool::Outcome;
use rustls::version::TLS13;
use support::certificates::{Authority, acceptor};
use support::{
    Kept,
    liar::{Lie, liar},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What the server does with a question about `service`.
type Says = fn(service: &[u8], respond: SendResponse<Bytes>);

async fn server(tls: Option<TlsAcceptor>, says: Says) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match tls.clone() {
                None => drop(tokio::spawn(serve(stream, says))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, says).await;
                    }
                })),
            }
        }
    });
    port
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, says: Says) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move { says(&asked(request).await, respond) });
    }
}

/// The service that the request asks for, as protobuf has it, with the request looked at.
async fn asked(mut request: Request<RecvStream>) -> Vec<u8> {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(
        (&request.headers()["content-type"], &request.headers()["te"]),
        (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
    );
    assert!(request.headers()["grpc-timeout"].to_str().unwrap().ends_with('m'));
    let mut body = Vec::new();
    while let Some(Ok(data)) = request.body_mut().data().await {
        body.extend_from_slice(&data);
    }
    body.split_off(5)
}

fn grpc() -> http::response::Builder {
    Response::builder().header("content-type", "application/grpc+proto")
}

/// A message, and a status in the trailers.
fn answer(mut respond: SendResponse<Bytes>, message: &[u8], status: &str) {
    let mut body = vec![0, 0, 0, 0, message.len() as u8];
    body.extend_from_slice(message);
    let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
    stream.send_data(body.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

/// A status without a message.
fn refuse(mut respond: SendResponse<Bytes>, status: &str, words: &str) {
    let head = grpc().header("grpc-status", status).header("grpc-message", words);
    respond.send_response(head.body(()).unwrap(), true).unwrap();
}

/// A server with a service that works, one that doesn't, and others that do as they are called.
fn usual(service: &[u8], respond: SendResponse<Bytes>) {
    match service {
        b"" | b"\x0a\x07shop.v1" => answer(respond, &[8, 1], "0"),
        b"\x0a\x03bad" => answer(respond, &[8, 2], "0"),
        b"\x0a\x05fresh" => answer(respond, &[], "0"),
        b"\x0a\x05other" => refuse(respond, "12", ""),
        b"\x0a\x04busy" => refuse(respond, "14", "no%20database"),
        _ => refuse(respond, "5", "unknown service"),
    }
}

const CHECK: &str = "type = \"grpc\"\ntimeout = \"400ms\"";

#[tokio::test]
async fn a_server_says_whether_it_serves() {
    let kept = Kept::default();
    let port = server(None, usual).await;
    let service = |name: &str| format!("{CHECK}\nservice = \"{name}\"");
    kept.good(CHECK, port, "gRPC health: SERVING").await;
    kept.good(&service("shop.v1"), port, "gRPC health: SERVING").await;
    kept.bad(&service("bad"), port, "gRPC health: NOT_SERVING").await;
    kept.bad(&service("fresh"), port, "gRPC health: UNKNOWN").await;
    kept.bad(&service("other"), port, "gRPC UNIMPLEMENTED: the server doesn't offer grpc.health.v1").await;
    kept.bad(&service("busy"), port, "gRPC UNAVAILABLE: no database").await;
    kept.bad(&service("nobody"), port, "gRPC NOT_FOUND: the server knows no service \"nobody\"").await;
}

#[tokio::test]
async fn it_is_asked_through_tls() {
    let authority = Authority::new("Own");
    let shown = authority.sign(&["grpc.example.org"], -1, 30);
    let kept = Kept { authorities: authority.folder.path().to_owned(), ..Kept::default() };
    let check = format!("{CHECK}\ntls = true\nverify = true\nca = \"own.pem\"\nhost = \"grpc.example.org\"");
    let port = server(Some(acceptor(&shown, &[&TLS13], &[b"h2"])), usual).await;
    let answer = kept.asked(&check, port).await;
    assert_eq!((answer.outcome, &*answer.reason), (Some(Outcome::Good), "gRPC health: SERVING"));
    assert!(answer.certificate_ends.is_some());
    let old = server(Some(acceptor(&shown, &[&TLS13], &[])), usual).await;
    kept.bad(&check, old, "the server doesn't offer HTTP/2 (ALPN)").await;
    kept.bad(CHECK, port, "connection").await;
    let plain = server(None, usual).await;
    kept.bad(&check, plain, "TLS: the server speaks no TLS on this port").await;
}

#[tokio::test]
async fn answers_that_are_no_grpc_are_bad() {
    let kept = Kept::default();
    let odd: [(Says, &str); 7] = [
        (|_, respond| answer(respond, &[8], "0"), "speaks no gRPC health: it answered"),
        (|_, respond| answer(respond, &[8, 1], "nought"), "speaks no gRPC: its grpc-status is \"nought\""),
        (|_, respond| answer(respond, &[8, 1], "13"), "gRPC INTERNAL"),
        (
            |_, mut respond| drop(respond.send_response(Response::new(()), true).unwrap()),
            "speaks no gRPC: it sends \"\"",
        ),
        (
            |_, mut respond| {
                drop(respond.send_response(Response::builder().status(404).body(()).unwrap(), true).unwrap());
            },
            "speaks no gRPC: HTTP 404",
        ),
        (
            |_, mut respond| drop(respond.send_response(grpc().body(()).unwrap(), true).unwrap()),
            "ends without a grpc-status",
        ),
        (
            |_, mut respond| respond.send_reset(Reason::REFUSED_STREAM),
            "the server refused the HTTP/2 request",
        ),
    ];
    for (says, words) in odd {
        let port = server(None, says).await;
        kept.bad(CHECK, port, words).await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_bad() {
    let endless: Says = |_, mut respond| {
        tokio::spawn(async move {
            let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
            loop {
                stream.reserve_capacity(16_384);
                if !matches!(std::future::poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_)))
                    || stream.send_data(vec![0; stream.capacity()].into(), false).is_err()
                {
                    return;
                }
            }
        });
    };
    let port = server(None, endless).await;
    Kept::default().bad(CHECK, port, "more than 65536 bytes while waiting for the gRPC answer").await;
}

#[tokio::test]
async fn liars_are_bad() {
    let kept = Kept::default();
    for check in [CHECK.to_owned(), format!("{CHECK}\ntls = true")] {
        for lie in Lie::ALL {
            let began = Instant::now();
            let answer = kept.asked(&check, liar(lie)).await;
            assert_eq!(answer.outcome, Some(Outcome::Bad), "{lie:?}: {answer:?}");
            assert!(began.elapsed() < Duration::from_secs(2), "{lie:?}");
        }
    }
}
