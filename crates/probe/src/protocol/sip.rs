//! SIP: OPTIONS (RFC 3261 11), over UDP or TCP.
use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    time::Duration,
};

use keel_model::SipCheck;
use tokio::time::{Instant, timeout_at};

use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    datagrams::Datagrams,
    line::{LIMIT, Line},
    text::{SHOWN, shown},
};

/// When a request over UDP is sent again first, and at most (RFC 3261 17.1.2.2).
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    sip: &SipCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let uri = uri(sip, place.socket())?;
    let status = if sip.udp {
        over_udp(super::datagrams(question, place, asker, trace).await?, &uri, trace).await?
    } else {
        over_tcp(super::open(question, place, asker, trace).await?, &uri).await?
    };
    if (200..300).contains(&status.code) {
        Ok(Finding::good(format!("SIP {}", status.code)))
    } else {
        let words = shown(format!("{} {}", status.code, status.words).trim_end().as_bytes(), SHOWN);
        Err(Fault::unexpected(format!("SIP {words}, expected 2xx")))
    }
}

/// Who is asked for: the check's, else the server itself.
fn uri(sip: &SipCheck, server: SocketAddr) -> Result<String, Fault> {
    let Some(uri) = &sip.uri else { return Ok(format!("sip:{server}")) };
    let fits = uri.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    if fits {
        Ok(uri.clone())
    } else {
        Err(Fault::Unable("the uri holds what no SIP address may".to_owned()))
    }
}

/// One request and what its answer must repeat.
struct Request {
    text: String,
    branch: String,
    call: String,
}

impl Request {
    fn new(transport: &str, uri: &str, own: SocketAddr) -> Self {
        // The cookie says that the branch is unique (RFC 3261 8.1.1.7).
        let branch = format!("z9hG4bK{}", token());
        let host = match own {
            SocketAddr::V4(own) => own.ip().to_string(),
            SocketAddr::V6(own) => format!("[{}]", own.ip()),
        };
        let call = format!("{}@{host}", token());
        let port = own.port();
        let via = transport.to_ascii_lowercase();
        let text = format!(
            "OPTIONS {uri} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {host}:{port};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:evenkeel@{host}>;tag={tag}\r\n\
             To: <{uri}>\r\n\
             Call-ID: {call}\r\n\
             CSeq: 1 OPTIONS\r\n\
             Contact: <sip:evenkeel@{host}:{port};transport={via}>\r\n\
             Accept: application/sdp\r\n\
             User-Agent: Evenkeel\r\n\
             Content-Length: 0\r\n\r\n",
            tag = token(),
        );
        Self { text, branch, call }
    }

    /// Whether this answers it (RFC 3261 17.1.3, and the call besides).
    fn is_answered_by(&self, head: &Head) -> bool {
        let mut sequence = head.get("cseq", "cseq").unwrap_or_default().split_ascii_whitespace();
        head.get("call-id", "i") == Some(self.call.as_str())
            && sequence.next() == Some("1")
            && sequence.next() == Some("OPTIONS")
            && head.get("via", "v").is_some_and(|via| branch(via) == Some(self.branch.as_str()))
    }
}

/// Something that nobody guesses.
fn token() -> String {
    let random = || RandomState::new().hash_one(std::time::Instant::now());
    format!("{:016x}{:016x}", random(), random())
}

/// The branch of the first of what a Via header lists.
fn branch(via: &str) -> Option<&str> {
    let first = via.split(',').next()?;
    first.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("branch").then(|| value.trim())
    })
}

/// The first line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Status {
    code: u16,
    words: String,
}

impl Status {
    fn parse(line: &str) -> Option<Self> {
        let (version, rest) = line.split_once(' ')?;
        let (code, words) = rest.split_once(' ').unwrap_or((rest, ""));
        let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        let code = code.parse().ok().filter(|code| digits && (100..700).contains(code))?;
        version.eq_ignore_ascii_case("SIP/2.0").then(|| Self { code, words: words.to_owned() })
    }

    /// Whether another will follow (1xx).
    fn is_provisional(&self) -> bool {
        self.code < 200
    }
}

/// The lines of a message up to its body, those that were folded made one.
#[derive(Debug, Default)]
struct Head {
    first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a line in; false if it is none that a head has.
    fn take(&mut self, line: &str) -> bool {
        if self.first.is_empty() {
            line.clone_into(&mut self.first);
            return true;
        }
        if line.starts_with([' ', '\t']) {
            let Some((_, value)) = self.fields.last_mut() else { return false };
            value.push(' ');
            value.push_str(line.trim());
            return true;
        }
        let Some((name, value)) = line.split_once(':') else { return false };
        self.fields.push((name.trim_end().to_ascii_lowercase(), value.trim().to_owned()));
        true
    }

    /// A datagram's.
    fn parse(datagram: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(datagram);
        let mut head = Self::default();
        for line in text.trim_start_matches(['\r', '\n']).lines() {
            if line.is_empty() {
                return Some(head);
            }
            if !head.take(line) {
                return None;
            }
        }
        None
    }

    /// The first field of this name, long or short (RFC 3261 7.3.3).
    fn get(&self, name: &str, short: &str) -> Option<&str> {
        self.fields.iter().find(|(is, _)| is == name || is == short).map(|(_, value)| value.as_str())
    }
}

async fn over_udp(datagrams: Datagrams, uri: &str, trace: &mut Trace) -> Result<Status, Fault> {
    let doing = datagrams.waiting("waiting for the answer to OPTIONS");
    trace.begin(doing);
    let own = datagrams.own_address().map_err(|source| Fault::Io { doing, source })?;
    let request = Request::new("UDP", uri, own);
    let mut buffer = vec![0; LIMIT];
    let mut patience = T1;
    loop {
        datagrams.send(doing, request.text.as_bytes()).await?;
        trace.sent(request.text.as_bytes());
        let again = Instant::now() + patience;
        patience = (patience * 2).min(T2);
        while let Ok(received) = timeout_at(again, datagrams.recv(doing, &mut buffer)).await {
            let datagram = &buffer[..received?];
            trace.received(datagram);
            let status = Head::parse(datagram)
                .filter(|head| request.is_answered_by(head))
                .and_then(|head| Status::parse(&head.first));
            match status {
                // It is being worked on (RFC 3261 17.1.2.2, Proceeding).
                Some(status) if status.is_provisional() => patience = T2,
                Some(status) => return Ok(status),
                // Anybody may send datagrams: they are no verdict.
                None => trace.begin("waiting for the answer to OPTIONS (what came was none)"),
            }
        }
    }
}

async fn over_tcp(mut line: Line<'_>, uri: &str) -> Result<Status, Fault> {
    let request = Request::new("TCP", uri, line.own_address()?);
    line.begin("waiting for the answer to OPTIONS");
    line.send(request.text.as_bytes()).await?;
    loop {
        let head = head(&mut line).await?;
        let Some(status) = Status::parse(&head.first) else {
            let words = shown(head.first.as_bytes(), SHOWN);
            return Err(Fault::unexpected(format!("answered \"{words}\", which is no SIP answer")));
        };
        if !request.is_answered_by(&head) {
            return Err(Fault::unexpected("answered another request than ours"));
        }
        if !status.is_provisional() {
            line.part(&[]);
            return Ok(status);
        }
        let length = head.get("content-length", "l").unwrap_or("0");
        let length = length.parse().map_err(|_| {
            Fault::unexpected(format!("a body of \"{}\" bytes", shown(length.as_bytes(), SHOWN)))
        })?;
        line.exact(length).await?;
    }
}

/// The next head of a connection; all of it stays within the limit.
async fn head(line: &mut Line<'_>) -> Result<Head, Fault> {
    let mut head = Head::default();
    let mut bytes = 0;
    loop {
        let next = line.line().await?;
        bytes += next.len() + 2;
        if bytes > LIMIT {
            return Err(Fault::TooLong { doing: line.trace.doing(), limit: LIMIT });
        }
        match next.as_str() {
            // Empty lines before a message keep the connection alive (RFC 3261 7.5).
            "" if head.first.is_empty() => {}
            "" => return Ok(head),
            text if head.take(text) && !(head.fields.is_empty() && Status::parse(&head.first).is_none()) => {}
            text => {
                let words = shown(text.as_bytes(), SHOWN);
                return Err(Fault::unexpected(format!("answered \"{words}\", which is no SIP answer")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request::new("UDP", "sip:probe@example.org", "192.0.2.1:5060".parse().unwrap())
    }

    fn answer(request: &Request, status: &str) -> String {
        format!(
            "SIP/2.0 {status}\r\nv: SIP/2.0/UDP 192.0.2.1;rport=1;\r\n branch={}\r\nCSeq:  1  OPTIONS\r\ni : {}\r\n\r\nbody",
            request.branch, request.call
        )
    }

    #[test]
    fn an_answer_repeats_what_was_asked() {
        let request = request();
        let good = answer(&request, "200 OK");
        let head = Head::parse(good.as_bytes()).unwrap();
        assert!(request.is_answered_by(&head), "{head:?}");
        assert_eq!(Status::parse(&head.first), Some(Status { code: 200, words: "OK".to_owned() }));
        let other = self::request();
        assert!(!other.is_answered_by(&head), "two requests are never alike");
        for (from, to) in
            [("1  OPTIONS", "2 OPTIONS"), ("OPTIONS", "INVITE"), ("branch=z", "branch=y"), ("i :", "x:")]
        {
            let wrong = good.replace(from, to);
            assert!(!request.is_answered_by(&Head::parse(wrong.as_bytes()).unwrap()), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for wrong in ["", "\r\n\r\n", "SIP/2.0 200 OK", "SIP/2.0 200 OK\r\n folded\r\n\r\n", "x\r\ny\r\n\r\n"]
        {
            assert!(Head::parse(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        for wrong in [
            "SIP/2.0 +20 OK",
            "SIP/2.0 99 x",
            "SIP/2.0 700 x",
            "HTTP/1.1 200 OK",
            "SIP/2.0",
            "OPTIONS sip:x SIP/2.0",
        ] {
            assert_eq!(Status::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(Status::parse("SIP/2.0 404"), Some(Status { code: 404, words: String::new() }));
    }

    #[test]
    fn addresses_stand_where_they_may() {
        let server = "[2001:db8::1]:5060".parse().unwrap();
        let check = |uri: Option<&str>| SipCheck { udp: true, uri: uri.map(str::to_owned) };
        assert_eq!(uri(&check(None), server).unwrap(), "sip:[2001:db8::1]:5060");
        assert!(uri(&check(Some("sip:probe@example.org;lr")), server).is_ok());
        for wrong in ["sip:a\r\nVia: x", "sip:a b", "sip:<a>"] {
            assert!(matches!(uri(&check(Some(wrong)), server), Err(Fault::Unable(_))), "{wrong:?}");
        }
        let text = Request::new("TCP", "sip:x", server).text;
        assert!(text.contains("Contact: <sip:evenkeel@[2001:db8::1]:5060;transport=tcp>\r\n"), "{text}");
    }
}
