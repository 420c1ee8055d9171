//! gRPC health (grpc.health.v1): the method Check over HTTP/2.
use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Version as HttpVersion, header, uri::PathAndQuery,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use keel_model::GrpcCheck;
use keel_pool::Outcome;

use super::http::{AGENT, Session, Version, authority, name_of, uri};
use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    line::LIMIT,
    text::{SHOWN, shown},
};

const METHOD: &str = "/grpc.health.v1.Health/Check";

const OK: u16 = 0;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    grpc: &GrpcCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let request = request(question, place, grpc)?;
    let mut line = super::open(question, place, asker, trace).await?;
    let mut ends = None;
    if let Some(ready) = &question.tls {
        line.secure(&grpc.tls, ready, grpc.host.as_deref().and_then(name_of)).await?;
        ends = line.certificate_ends();
    }
    let mut session = Session::open(line, Version::Two).await?;
    trace.begin("waiting for the gRPC answer");
    let response = session.ask(request, trace).await?;
    let answer = receive(&mut session, response, trace).await?;
    Ok(judge(&answer, &grpc.service)?.with_certificate(ends))
}

fn request(question: &Question, place: &Place, grpc: &GrpcCheck) -> Result<Request<Full<Bytes>>, Fault> {
    let tls = question.tls.is_some();
    let authority = authority(grpc.host.as_deref(), place.socket(), tls)?;
    let mut request = Request::new(Full::new(Bytes::from(message(&grpc.service)?)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = HttpVersion::HTTP_2;
    *request.uri_mut() = uri(tls, authority, PathAndQuery::from_static(METHOD))?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, AGENT);
    let patience = format!("{}m", question.timeout.as_millis().clamp(1, 99_999_999));
    if let Ok(patience) = HeaderValue::try_from(patience) {
        headers.insert("grpc-timeout", patience);
    }
    Ok(request)
}

/// HealthCheckRequest { string service = 1 }, behind "not compressed" and its length.
fn message(service: &str) -> Result<Vec<u8>, Fault> {
    let mut inner = Vec::with_capacity(service.len() + 4);
    if !service.is_empty() {
        inner.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            inner.push(length as u8 | 0x80);
            length >>= 7;
        }
        inner.push(length as u8);
        inner.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(inner.len())
        .map_err(|_| Fault::Unable("the name of the service is too long".to_owned()))?;
    let mut message = vec![0];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&inner);
    Ok(message)
}

/// What the server answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// The server's words about the status.
    words: String,
    body: Vec<u8>,
}

async fn receive(
    session: &mut Session,
    response: Response<Incoming>,
    trace: &mut Trace,
) -> Result<Answer, Fault> {
    let (head, mut stream) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Fault::unexpected(format!("speaks no gRPC: HTTP {}", head.status.as_u16())));
    }
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.starts_with(b"application/grpc") {
        return Err(Fault::unexpected(format!("speaks no gRPC: it sends \"{}\"", shown(kind, SHOWN))));
    }
    if let Some((status, words)) = status(&head.headers)? {
        return Ok(Answer { status, words, body: Vec::new() });
    }
    let mut body = Vec::new();
    while let Some(frame) = session.drive(stream.frame()).await {
        let frame = frame.map_err(|error| session.fault(error, trace))?;
        match frame.into_data() {
            Ok(data) if body.len() + data.len() > LIMIT => {
                return Err(Fault::TooLong { doing: trace.doing(), limit: LIMIT });
            }
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                trace.received(&body);
                trace.note(|| format!("trailers: {}", shown(format!("{trailers:?}").as_bytes(), 256)));
                let Some((status, words)) = status(&trailers)? else { break };
                return Ok(Answer { status, words, body });
            }
        }
    }
    Err(Fault::unexpected("speaks no gRPC: its answer ends without a grpc-status"))
}

/// `grpc-status` and `grpc-message`, where there are any.
fn status(headers: &HeaderMap) -> Result<Option<(u16, String)>, Fault> {
    let Some(value) = headers.get("grpc-status") else { return Ok(None) };
    let status = value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let said = shown(value.as_bytes(), SHOWN);
        Fault::unexpected(format!("speaks no gRPC: its grpc-status is \"{said}\""))
    })?;
    let words = headers.get("grpc-message").map_or(&b""[..], HeaderValue::as_bytes);
    Ok(Some((status, shown(&decoded(words), SHOWN))))
}

/// Without percent-encoding; what isn't properly encoded stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

fn judge(answer: &Answer, service: &str) -> Result<Finding, Fault> {
    let bad = |text: String| Ok(Finding::of(Outcome::Bad, text));
    match answer.status {
        OK => {}
        UNIMPLEMENTED => {
            return bad("gRPC UNIMPLEMENTED: the server doesn't offer grpc.health.v1".to_owned());
        }
        NOT_FOUND => {
            return bad(format!(
                "gRPC NOT_FOUND: the server knows no service \"{}\"",
                shown(service.as_bytes(), SHOWN)
            ));
        }
        other if answer.words.is_empty() => return bad(format!("gRPC {}", name(other))),
        other => return bad(format!("gRPC {}: {}", name(other), answer.words)),
    }
    match serving(&answer.body) {
        Some(1) => Ok(Finding::good("gRPC health: SERVING")),
        Some(0) => bad("gRPC health: UNKNOWN".to_owned()),
        Some(2) => bad("gRPC health: NOT_SERVING".to_owned()),
        Some(3) => bad("gRPC health: SERVICE_UNKNOWN".to_owned()),
        Some(other) => bad(format!("gRPC health: an unknown state, {other}")),
        None => Err(Fault::unexpected(format!(
            "speaks no gRPC health: it answered \"{}\"",
            shown(&answer.body, SHOWN)
        ))),
    }
}

fn name(status: u16) -> Cow<'static, str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    match NAMES.get(usize::from(status)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("status {status}")),
    }
}

/// HealthCheckResponse { ServingStatus status = 1 } of exactly one message that is not compressed; none if the bytes
/// are something else. Fields that we don't know are skipped, as protobuf wants.
fn serving(body: &[u8]) -> Option<u64> {
    let (head, mut rest) = body.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || usize::try_from(length).ok()? != rest.len() {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut rest)?,
            (0 | 1, _) => return None,
            (_, 0) => _ = varint(&mut rest)?,
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// At most ten bytes with seven bits each, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_the_service() {
        assert_eq!(message("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(message("a.b").unwrap(), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'b']);
        let long = message(&"x".repeat(300)).unwrap();
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 308);
    }

    #[test]
    fn answers_are_read_strictly() {
        let framed = |message: &[u8]| {
            let mut body = vec![0, 0, 0, 0, message.len() as u8];
            body.extend_from_slice(message);
            body
        };
        assert_eq!(serving(&framed(&[])), Some(0));
        assert_eq!(serving(&framed(&[8, 1])), Some(1));
        assert_eq!(serving(&framed(&[8, 1, 8, 2])), Some(2), "the last one counts");
        assert_eq!(serving(&framed(&[0x12, 2, 9, 9, 8, 1, 0x25, 1, 2, 3, 4, 0x18, 0x80, 1])), Some(1));
        for wrong in [
            &b""[..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0xff, 0xff, 0xff, 0xff, 8, 1],
            &framed(&[8]),
            &framed(&[8, 0x80]),
            &framed(&[0x0a, 1, 1]),
            &framed(&[0x12, 9, 1]),
            &framed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            &framed(&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            &framed(&[0x13]),
        ] {
            assert_eq!(serving(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn words_of_a_status_are_decoded() {
        assert_eq!(&*decoded(b"no%20db%"), b"no db%");
        assert_eq!(&*decoded(b"100%zz%4"), b"100%zz%4");
        let answer = Answer { status: 14, words: "draining".to_owned(), body: Vec::new() };
        assert_eq!(judge(&answer, "").unwrap().text, "gRPC UNAVAILABLE: draining");
        assert_eq!(name(99), "status 99");
    }
}
