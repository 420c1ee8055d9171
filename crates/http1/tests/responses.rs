//! Which responses are taken, where their bodies end, and what is written of them.
use keel_http1::{Body, Head, Known, Limits, Method, Peer, Refusal, Request, Response, Scan};

fn read(bytes: &[u8], method: Method) -> Result<(Response, &[u8]), Refusal> {
    let limits = Limits::default();
    let (begin, end) = Scan::default().find(bytes, Peer::Server, &limits)?.expect("the head is whole");
    let head = &bytes[begin..end];
    let mut response = Response::default();
    response.read(head, method, &limits).map(|()| (response, head))
}

fn body(rest: &str, method: Method) -> Result<Body, Refusal> {
    read(format!("HTTP/1.1 {rest}\r\n\r\n").as_bytes(), method).map(|(response, _)| response.body)
}

#[test]
fn where_bodies_end() {
    use Body::*;
    use Method::{Get, Head as HeadMethod};
    assert_eq!(body("200 OK\r\nContent-Length: 5", Get), Ok(Length(5)));
    assert_eq!(body("200 OK\r\nContent-Length: 5\r\nContent-Length: 5", Get), Ok(Length(5)));
    assert_eq!(body("200 OK\r\nTransfer-Encoding: chunked", Get), Ok(Chunked));
    assert_eq!(body("200 OK", Get), Ok(UntilClose));
    assert_eq!(body("200 OK\r\nContent-Length: 5", HeadMethod), Ok(None));
    assert_eq!(body("200 OK\r\nTransfer-Encoding: chunked", HeadMethod), Ok(None));
    for bare in
        ["100 Continue", "101 Switching Protocols", "103 Early Hints", "204 No Content", "304 Not Modified"]
    {
        assert_eq!(body(bare, Get), Ok(None), "{bare}");
    }
    for wrong in [
        ("200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", Refusal::BothLengths),
        ("200 OK\r\nContent-Length: 5\r\nContent-Length: 6", Refusal::ContentLength),
        ("200 OK\r\nContent-Length: -1", Refusal::ContentLength),
        ("200 OK\r\nTransfer-Encoding: gzip, chunked", Refusal::TransferEncoding),
        ("200 OK\r\nTransfer-Encoding: identity", Refusal::TransferEncoding),
        ("200 OK\r\nX: a\r\n b", Refusal::FieldName),
        ("200 OK\r\nX : a", Refusal::FieldName),
        ("200 OK\r\nX: \0", Refusal::FieldValue),
        ("20 OK", Refusal::StatusLine),
        ("2000 OK", Refusal::StatusLine),
        ("099 OK", Refusal::StatusLine),
        ("two OK", Refusal::StatusLine),
    ] {
        assert_eq!(body(wrong.0, Get), Err(wrong.1), "{}", wrong.0);
    }
    let old = read(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Get).err();
    assert_eq!(old, Some(Refusal::TransferEncoding));
    assert_eq!(read(b"HTTP/2.0 200 OK\r\n\r\n", Get).err(), Some(Refusal::Version));
}

#[test]
fn the_length_of_a_body_that_isnt_sent_is_known() {
    let would_be = |rest: &str, method| {
        let bytes = format!("HTTP/1.1 {rest}\r\nContent-Length: 7\r\n\r\n");
        read(bytes.as_bytes(), method).map(|(response, _)| response.would_be)
    };
    assert_eq!(would_be("200 OK", Method::Head), Ok(Some(7)));
    assert_eq!(would_be("304 Not Modified", Method::Get), Ok(Some(7)));
    assert_eq!(would_be("204 No Content", Method::Get), Ok(None));
    assert_eq!(would_be("200 OK", Method::Get), Ok(None));
}

#[test]
fn old_servers_are_understood() {
    let (response, head) =
        read(b"HTTP/1.0 200\nServer: old\nConnection: keep-alive\n\n", Method::Get).unwrap();
    assert_eq!((response.status, response.minor, response.body), (200, 0, Body::UntilClose));
    assert_eq!(response.fields[0].value.in_head(head), b"old");
    assert!(!response.keeps_alive(), "its body ends with the connection");
    let (response, _) =
        read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n", Method::Get).unwrap();
    assert!(response.keeps_alive());
    let (response, _) = read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Method::Get).unwrap();
    assert!(!response.keeps_alive());
}

#[test]
fn interim_responses_and_other_protocols() {
    let status = |line: &str| {
        let bytes = format!("HTTP/1.1 {line}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        let (response, _) = read(bytes.as_bytes(), Method::Get).unwrap();
        (response.is_interim(), response.upgrade.is_some(), response.keeps_alive())
    };
    assert_eq!(status("100 Continue"), (true, false, true));
    assert_eq!(status("103 Early Hints"), (true, false, true));
    assert_eq!(status("101 Switching Protocols"), (false, true, false));
    assert_eq!(status("204 No Content"), (false, false, true));
}

#[test]
fn a_request_is_written_with_framing_of_our_own() {
    let bytes = b"POST http://a.example?x HTTP/1.1\r\nhost: a.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Kept:\t 2 \r\n\
                  TE: trailers\r\nContent-Length: 5\r\n\r\n";
    let limits = Limits::default();
    let mut request = Request::default();
    request.read(bytes, &limits).unwrap();
    let mut out = b"before".to_vec();
    Head::request(&mut out, bytes, &request, request.host.in_head(bytes))
        .copy(bytes, &request.fields, request.hop)
        .field(b"X-Forwarded-For", &[b"192.0.2.1", b", ", b"10.0.0.1"])
        .body(request.body)
        .end();
    let expected = "beforePOST /?x HTTP/1.1\r\nHost: a.example\r\nX-Kept: 2\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n\
                    Content-Length: 5\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    for (target, written) in
        [("OPTIONS http://a", "OPTIONS * "), ("GET http://a", "GET / "), ("OPTIONS *", "OPTIONS * ")]
    {
        let bytes = format!("{target} HTTP/1.1\r\nHost: a\r\n\r\n");
        request.read(bytes.as_bytes(), &limits).unwrap();
        let mut out = Vec::new();
        Head::request(&mut out, bytes.as_bytes(), &request, b"a");
        assert!(String::from_utf8(out).unwrap().starts_with(written));
    }
}

#[test]
fn a_response_is_written_with_framing_of_our_own() {
    let bytes = b"HTTP/1.0 404 Nicht gefunden\r\nServer: s\r\nContent-Length: 3\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\n\r\n";
    let (response, head) = read(bytes, Method::Get).unwrap();
    assert_eq!(response.field(Known::SetCookie).unwrap().value.in_head(head), b"a=b");
    let mut out = Vec::new();
    Head::response(&mut out, response.status, response.reason.in_head(head))
        .copy(head, &response.fields, response.hop)
        .body(Body::Chunked)
        .end();
    let expected =
        "HTTP/1.1 404 Nicht gefunden\r\nServer: s\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
