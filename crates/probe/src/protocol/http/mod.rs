//! HTTP/1.1 and HTTP/2: one request, its answer's status, and what the check looks for in the body.

mod body;
mod redirect;
mod request;
mod session;

use ::http::{StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use keel_model::{HttpCheck, HttpVersion};
use keel_pool::Outcome;

pub(super) use self::request::{AGENT, authority, name_of, uri};
pub(super) use self::session::{Session, Version};
use self::{body::Looks, redirect::From, request::Asked};
use crate::{Asker, Fault, Place, Question, Trace, ask::Finding};

/// Redirects that are followed at most.
const REDIRECTS: usize = 5;

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    http: &HttpCheck,
    tls: bool,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let mut asked = Asked::first(http, place, tls)?;
    for _ in 0..=REDIRECTS {
        match turn(question, place, http, &asked, asker, trace).await? {
            Turn::Found(finding) => return Ok(finding),
            Turn::Moved(moved) => asked = moved,
        }
    }
    Err(Fault::unexpected(format!("more than {REDIRECTS} redirects, the last one to {}", asked.path)))
}

/// What one request came to.
enum Turn {
    Found(Finding),
    Moved(Asked),
}

async fn turn(
    question: &Question,
    place: &Place,
    http: &HttpCheck,
    asked: &Asked,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Turn, Fault> {
    let request = asked.request(http, question.secret.as_ref())?;
    let (mut session, ends) = open(question, place, http, asker, trace).await?;
    trace.begin("waiting for the HTTP answer");
    let response = session.ask(request, trace).await?;
    let (head, body) = response.into_parts();
    if http.follow_redirects
        && let Some(location) = head.headers.get(header::LOCATION)
        && let Some(method) = asked.redirected(head.status)
    {
        let from = From { tls: asked.tls, sent: &asked.authority, socket: place.socket(), path: &asked.path };
        let path = redirect::follow(head.status, location.as_bytes(), &from)?;
        return Ok(Turn::Moved(Asked { method, path, ..asked.clone() }));
    }
    let finding = match judge(http, head.status) {
        Some(finding) => finding,
        None => look(question, http, head.status, &mut session, body, trace).await?,
    };
    Ok(Turn::Found(finding.with_certificate(ends)))
}

/// Opens the connection, and the end of the certificate that was shown.
async fn open(
    question: &Question,
    place: &Place,
    http: &HttpCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<(Session, Option<Timestamp>), Fault> {
    let version = match http.version {
        HttpVersion::V1 => Version::One,
        HttpVersion::V2 => Version::Two,
    };
    let mut line = super::open(question, place, asker, trace).await?;
    let mut ends = None;
    if let Some(ready) = &question.tls {
        line.secure(&http.tls, ready, http.host.as_deref().and_then(name_of)).await?;
        ends = line.certificate_ends();
    }
    Ok((Session::open(line, version).await?, ends))
}

/// What the status alone decides.
fn judge(http: &HttpCheck, status: StatusCode) -> Option<Finding> {
    let code = status.as_u16();
    if http.drain_on_status.as_ref().is_some_and(|drains| drains.contains(code)) {
        return Some(Finding::of(Outcome::Drain, format!("HTTP {code} drains")));
    }
    if http.expect_status.contains(code) {
        return None;
    }
    Some(Finding::of(Outcome::Bad, format!("HTTP {code}, expected {}", http.expect_status)))
}

/// Looks into the body, no further than the decision needs.
async fn look(
    question: &Question,
    http: &HttpCheck,
    status: StatusCode,
    session: &mut Session,
    mut body: Incoming,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let code = status.as_u16();
    let good = || Finding::good(format!("HTTP {code}"));
    let Some(mut looks) = Looks::new(question, http) else { return Ok(good()) };
    trace.begin("reading the body");
    let verdict = loop {
        let frame = match looks.patience() {
            None => session.drive(body.frame()).await,
            Some(patience) => match tokio::time::timeout(patience, session.drive(body.frame())).await {
                Ok(frame) => frame,
                // The server pauses: what came may be enough.
                Err(_) => match looks.paused() {
                    Some(verdict) => break verdict,
                    None => continue,
                },
            },
        };
        let verdict = match frame {
            None => Some(looks.end()),
            Some(Err(error)) => return Err(session.fault(error, trace)),
            Some(Ok(frame)) => frame.into_data().ok().and_then(|data| looks.add(&data, trace)),
        };
        if let Some(verdict) = verdict {
            break verdict;
        }
    };
    trace.note(|| format!("looked at {} bytes of the body", looks.seen()));
    Ok(match verdict {
        Ok(()) => good(),
        Err(why) => Finding::of(Outcome::Bad, format!("HTTP {code}, but the body {why}")),
    })
}
