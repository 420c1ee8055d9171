//! Send and expect, over TCP and UDP.
use std::time::Duration;

use keel_model::{TcpCheck, UdpCheck};
use tokio::time::timeout;

use super::wanted::{PAUSE, Search, Wanted};
use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    line::{LIMIT, Line},
    question::ReadyTurn,
    text::{SHOWN, shown},
};

/// What is left of the time of a question when silence becomes an answer.
const SPEAKING: Duration = Duration::from_millis(100);

/// Says and hears what the check says.
pub(crate) async fn tcp(mut line: Line<'_>, question: &Question, tcp: &TcpCheck) -> Result<Finding, Fault> {
    if let Some(ready) = &question.tls {
        line.secure(&tcp.tls, ready, None).await?;
    }
    let ends = line.certificate_ends();
    let pause = PAUSE.min(question.timeout / 4);
    if let Some(text) = &tcp.send {
        line.send(text.as_bytes()).await?;
    }
    let mut heard = false;
    if let Some(text) = &tcp.expect {
        // Both look at the same answer.
        hear(&mut line, Wanted::Text(text), question.expect.is_some(), pause).await?;
        heard = true;
    }
    if let Some(pattern) = &question.expect {
        hear(&mut line, Wanted::Pattern(pattern), false, pause).await?;
        heard = true;
    }
    for turn in &question.turns {
        match turn {
            ReadyTurn::Send(text) => line.send(text.as_bytes()).await?,
            ReadyTurn::Expect(text) => hear(&mut line, Wanted::Text(text), false, pause).await?,
            ReadyTurn::Match(pattern) => hear(&mut line, Wanted::Pattern(pattern), false, pause).await?,
        }
        heard |= !matches!(turn, ReadyTurn::Send(_));
    }
    let text = if heard { "answered as expected" } else { "connection opens" };
    line.part(&[]);
    Ok(Finding::good(text).with_certificate(ends))
}

/// Reads until what is wanted has come, and uses that up unless it is to be looked at again.
async fn hear(line: &mut Line<'_>, wanted: Wanted<'_>, again: bool, pause: Duration) -> Result<(), Fault> {
    line.begin("waiting for the expected answer");
    let mut search = Search::new(wanted);
    let (mut whole, mut over) = (false, false);
    loop {
        let full = line.ahead().len() >= LIMIT;
        if let Some(end) = search.end(line.ahead(), whole || full) {
            if !again {
                line.exact(end).await?;
            }
            return Ok(());
        }
        if over {
            return Err(another(line.ahead(), wanted));
        }
        let open = search.is_open(line.ahead());
        let more = if open { timeout(pause, line.more()).await } else { Ok(line.more().await) };
        (whole, over) = match more {
            Ok(more) => {
                let over = !more?;
                (over, over)
            }
            // It pauses: what came is meant as it is.
            Err(_) => (true, false),
        };
    }
}

fn another(came: &[u8], wanted: Wanted<'_>) -> Fault {
    let (came, wanted) = (shown(came, SHOWN), wanted.words());
    Fault::unexpected(match came.as_str() {
        "" => format!("connection closed without a word, expected {wanted}"),
        came => format!("answered \"{came}\", expected {wanted}"),
    })
}

/// Sends a datagram. Without an expectation silence is good: many protocols don't answer strangers. It is waited for a
/// refusal as long as there is time to say that none came.
pub(crate) async fn udp(
    question: &Question,
    place: &Place,
    udp: &UdpCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let datagrams = super::datagrams(question, place, asker, trace).await?;
    let payload = udp.send.as_deref().unwrap_or_default().as_bytes();
    let doing = datagrams.waiting("waiting for an answer");
    trace.begin(doing);
    datagrams.send(doing, payload).await?;
    trace.sent(payload);
    let mut buffer = vec![0; LIMIT];
    let expecting = udp.expect.is_some() || question.expect.is_some();
    let length = if expecting {
        datagrams.recv(doing, &mut buffer).await?
    } else {
        let patience = question.timeout - SPEAKING.min(question.timeout / 4);
        match timeout(patience, datagrams.recv(doing, &mut buffer)).await {
            Err(_) => return Ok(Finding::good("no refusal")),
            Ok(received) => received?,
        }
    };
    let answer = &buffer[..length];
    trace.received(answer);
    let text = udp.expect.as_deref().map(Wanted::Text);
    for wanted in text.into_iter().chain(question.expect.as_ref().map(Wanted::Pattern)) {
        if !wanted.found(answer, true) {
            let (came, wanted) = (shown(answer, SHOWN), wanted.words());
            return Err(Fault::unexpected(format!("answered \"{came}\", expected {wanted}")));
        }
    }
    Ok(Finding::good(if expecting { "answered as expected" } else { "answered" }))
}
