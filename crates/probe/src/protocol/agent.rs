//! The feedback agent: a word or two about the state of a server and the share of its weight that it wants.
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full};
use keel_model::AgentCheck;
use keel_pool::Outcome;

use super::http::{AGENT, Session, Version, authority};
use crate::{
    Fault, Place, Trace,
    ask::Finding,
    line,
    tcp::Opening,
    text::{SHOWN, shown},
};

/// Bytes in which an agent has said all it has to say.
const LIMIT: usize = 4096;
/// The largest share of its weight that a server gets, per cent.
const MOST: u16 = 1000;

pub(crate) async fn check(place: &Place, agent: &AgentCheck, trace: &mut Trace) -> Result<Finding, Fault> {
    let to = place.at_port(agent.agent_port);
    let said = match &agent.path {
        Some(path) => by_http(to, path, trace).await?,
        None => by_tcp(to, agent.send.as_deref(), trace).await?,
    };
    let said = first_line(&said);
    let text = String::from_utf8_lossy(said);
    let Some(word) = Word::read(&text) else {
        return Err(Fault::unexpected(match said {
            b"" => "the agent said nothing".to_owned(),
            said => format!("the agent said \"{}\", which is not understood", shown(said, SHOWN)),
        }));
    };
    if !word.ignored.is_empty() {
        let ignored = shown(word.ignored.join(" ").as_bytes(), SHOWN);
        trace.note(|| format!("the agent also said \"{ignored}\", which is not used"));
    }
    Ok(Finding { share: word.share, ..Finding::of(word.outcome, word.words()) })
}

/// It speaks when the connection opens, or when it was spoken to.
async fn by_tcp(to: SocketAddr, send: Option<&str>, trace: &mut Trace) -> Result<Vec<u8>, Fault> {
    let mut line = line::connect(to, Opening::Theirs, trace).await?;
    line.begin("waiting for the agent");
    if let Some(text) = send {
        line.send(text.as_bytes()).await?;
    }
    while !is_whole(line.ahead()) {
        if line.ahead().len() > LIMIT {
            return Err(Fault::TooLong { doing: line.trace.doing(), limit: LIMIT });
        }
        if !line.more().await? {
            break;
        }
    }
    let said = line.ahead().to_vec();
    line.part(&[]);
    Ok(said)
}

/// It is asked by HTTP.
async fn by_http(to: SocketAddr, path: &str, trace: &mut Trace) -> Result<Vec<u8>, Fault> {
    let request = request(to, path)?;
    let line = line::connect(to, Opening::Ours, trace).await?;
    let mut session = Session::open(line, Version::One).await?;
    trace.begin("waiting for the agent");
    let response = session.ask(request, trace).await?;
    if response.status() != StatusCode::OK {
        let status = response.status().as_u16();
        return Err(Fault::unexpected(format!("the agent answered HTTP {status}, expected 200")));
    }
    let mut body = response.into_body();
    let mut said = Vec::new();
    while let Some(frame) = session.drive(body.frame()).await {
        let frame = frame.map_err(|error| session.fault(error, trace))?;
        let Ok(data) = frame.into_data() else { continue };
        if said.len() + data.len() > LIMIT {
            return Err(Fault::TooLong { doing: trace.doing(), limit: LIMIT });
        }
        said.extend_from_slice(&data);
        if is_whole(&said) {
            break;
        }
    }
    trace.received(&said);
    Ok(said)
}

fn request(to: SocketAddr, path: &str) -> Result<Request<Full<Bytes>>, Fault> {
    let path = PathAndQuery::try_from(path)
        .map_err(|_| Fault::Unable(format!("`{path}` is no path that can be requested")))?;
    let host = HeaderValue::try_from(authority(None, to, false)?.as_str())
        .map_err(|error| Fault::Unable(error.to_string()))?;
    let mut request = Request::new(Full::default());
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::USER_AGENT, AGENT);
    Ok(request)
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether a line with something in it has ended.
fn is_whole(said: &[u8]) -> bool {
    said.trim_ascii_start().iter().any(|byte| is_end(*byte))
}

fn first_line(said: &[u8]) -> &[u8] {
    let said = said.trim_ascii_start();
    let end = said.iter().position(|byte| is_end(*byte)).unwrap_or(said.len());
    said[..end].trim_ascii_end()
}

/// What an agent's line means.
#[derive(Debug, PartialEq, Eq)]
struct Word<'l> {
    outcome: Outcome,
    /// The state's word, unless only a share was told.
    state: Option<&'static str>,
    share: Option<u16>,
    /// What it says for people.
    why: &'l str,
    ignored: Vec<&'l str>,
}

impl<'l> Word<'l> {
    /// None if nothing in it is understood. Of several states the worst one counts.
    fn read(line: &'l str) -> Option<Self> {
        let (words, why) = line.split_once('#').unwrap_or((line, ""));
        let mut word =
            Self { outcome: Outcome::Good, state: None, share: None, why: why.trim(), ignored: Vec::new() };
        let parts =
            words.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|part| !part.is_empty());
        for part in parts {
            if let Some((outcome, state)) = state(part) {
                if word.state.is_none() || rank(outcome) > rank(word.outcome) {
                    (word.outcome, word.state) = (outcome, Some(state));
                }
            } else if let Some(share) = share(part) {
                word.share = Some(share);
            } else {
                word.ignored.push(part);
            }
        }
        if word.state.is_none() && word.share.is_none() {
            return None;
        }
        if word.share == Some(0) && word.outcome == Outcome::Good {
            word.outcome = Outcome::Drain;
        }
        Some(word)
    }

    fn words(&self) -> String {
        let share = self.share.map(|share| format!("{share}%"));
        let parts: Vec<&str> = self.state.into_iter().chain(share.as_deref()).collect();
        let why = if self.why.is_empty() {
            String::new()
        } else {
            format!(": {}", shown(self.why.as_bytes(), SHOWN))
        };
        format!("the agent says {}{why}", parts.join(", "))
    }
}

fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Good => 0,
        Outcome::Drain => 1,
        Outcome::Bad => 2,
    }
}

fn state(word: &str) -> Option<(Outcome, &'static str)> {
    const STATES: [(&str, Outcome); 8] = [
        ("up", Outcome::Good),
        ("ready", Outcome::Good),
        ("drain", Outcome::Drain),
        ("maint", Outcome::Drain),
        ("down", Outcome::Bad),
        ("fail", Outcome::Bad),
        ("failed", Outcome::Bad),
        ("stopped", Outcome::Bad),
    ];
    STATES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(word))
        .map(|(known, outcome)| (*outcome, *known))
}

/// "75%", "74.6%", or a bare number up to 100.
fn share(word: &str) -> Option<u16> {
    let (number, most) = match word.strip_suffix('%') {
        Some(number) => (number, u16::MAX),
        None => (word, 100),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= most)?;
    Some(whole.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(line: &str, outcome: Outcome, share: Option<u16>, words: &str) {
        let word = Word::read(line).unwrap();
        assert_eq!((word.outcome, word.share), (outcome, share), "{line}");
        assert_eq!(word.words(), format!("the agent says {words}"));
    }

    #[test]
    fn field_agents_are_understood() {
        use Outcome::{Bad, Drain, Good};
        says("75%", Good, Some(75), "75%");
        says("100", Good, Some(100), "100%");
        says("74.6%", Good, Some(74), "74%");
        says("up ready 30%", Good, Some(30), "up, 30%");
        says("READY,\tUp", Good, None, "ready");
        says("0%", Drain, Some(0), "0%");
        says("up 0", Drain, Some(0), "up, 0%");
        says("drain 50%", Drain, Some(50), "drain, 50%");
        says("maint", Drain, None, "maint");
        says("up down drain", Bad, None, "down");
        says("down#disk full", Bad, None, "down: disk full");
        says("stopped # by hand \u{7}", Bad, None, "stopped: by hand \\u{7}");
        says("fail 0%", Bad, Some(0), "fail, 0%");
        says("256%", Good, Some(256), "256%");
        says("65535%", Good, Some(1000), "1000%");
        says("10% 20%", Good, Some(20), "20%");
        says("up, maxconn:30", Good, None, "up");
    }

    #[test]
    fn anything_else_is_not() {
        for line in ["", "hello", "101", "-1%", "%", "1e2%", "65536%", "5.%", "#up", "220 HTTP/1.1 OK", "１%"]
        {
            assert_eq!(Word::read(line), None, "{line}");
        }
        assert_eq!(Word::read("up maxconn:30").unwrap().ignored, ["maxconn:30"]);
    }

    #[test]
    fn the_first_line_with_something_in_it_counts() {
        assert_eq!(first_line(b"\r\n up 5% \r\ndown"), b"up 5%");
        assert!(!is_whole(b"\n"));
        assert!(is_whole(b"\nup\r"));
    }
}
