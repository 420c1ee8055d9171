//! Syslog: RFC 5424 over UDP (RFC 5426), one message for each event.
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::UdpSocket;

use super::{SendError, Sent, net};
use crate::{
    Report, Severity,
    text::{lasted, shown},
};

/// How long all of it may take.
const TIME: Duration = Duration::from_secs(10);
/// How long to wait for word that nobody listens.
const REFUSAL: Duration = Duration::from_millis(200);
/// Bytes of a message's text at most: with its head it stays below the 2,048 that every receiver should take
/// (RFC 5424 §6.1).
const TEXT: usize = 1024;
/// RFC 5424 §6.2.1.
const DAEMON: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

/// Where events go as syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Syslog {
    server: String,
}

impl Syslog {
    pub(super) fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    pub(super) async fn send(&self, report: &Report) -> Result<Sent, SendError> {
        let stage = net::Stage::default();
        stage.is("looking up its name");
        let sent = stage.limit(TIME, self.send_all(&messages(report, std::process::id()))).await;
        sent.map_err(|why| SendError::Syslog { server: self.server.clone(), why }).map(|()| Sent::WELL)
    }

    async fn send_all(&self, messages: &[String]) -> Result<(), String> {
        let (host, port) = net::host_port(&self.server).ok_or("is not a host with a port")?;
        let failed = |error: std::io::Error| format!("can't be reached: {}", net::words(&error));
        let to = *net::addresses(host, port).await?.first().ok_or("has no address")?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.connect(to).await.map_err(failed)?;
        for message in messages {
            socket.send(message.as_bytes()).await.map_err(failed)?;
        }
        // UDP confirms nothing, but a host on which nobody listens says so (ICMP).
        match tokio::time::timeout(REFUSAL, socket.recv(&mut [0; 1])).await {
            Ok(Err(error)) => Err(failed(error)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

fn messages(report: &Report, process: u32) -> Vec<String> {
    let node = printable(&report.node);
    let line = |at: Timestamp, severity: Severity, text: &str| {
        let level = if severity == Severity::Problem { WARNING } else { NOTICE };
        let text = shown(text, TEXT);
        // RFC 5424 §6.4: what isn't ASCII is marked as UTF-8.
        let mark = if text.is_ascii() { "" } else { "\u{feff}" };
        format!(
            "<{}>1 {at:.6} {node} evenkeel {process} {} - {mark}{text}",
            DAEMON * 8 + level,
            severity.word()
        )
    };
    let mut lines: Vec<String> = report
        .events
        .iter()
        .map(|told| line(told.at, told.severity, &format!("{}: {}", told.subject, told.words())))
        .collect();
    let last = report.events.last().map_or(Timestamp::UNIX_EPOCH, |told| told.at);
    if report.more > 0 {
        lines.push(line(last, Severity::Problem, &format!("{} more events are not listed", report.more)));
    }
    if let Some(time) = report.all_clear {
        lines.push(line(last, Severity::Recovered, &format!("all clear after {}", lasted(time))));
    }
    lines
}

/// A name as RFC 5424 §6.2.4 allows it.
fn printable(name: &str) -> String {
    let first = name.split(',').next().unwrap_or_default();
    let name: String = first.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_the_rfc_says() {
        let at: Timestamp = "2026-11-21T23:06:18.123456789Z".parse().unwrap();
        let mut report = Report::test("lb 1", at);
        assert_eq!(
            messages(&report, 7),
            [
                "<29>1 2026-11-21T23:06:18.123456Z lb1 evenkeel 7 NOTICE - node lb 1: this is a test: alerts arrive"
            ]
        );
        report.events[0].severity = Severity::Problem;
        report.events[0].text = "ü\r\n<0>1".to_owned();
        report.all_clear = Some(Duration::from_secs(720));
        let all = messages(&report, 7);
        assert!(all[0].starts_with("<28>1 "), "{all:?}");
        assert!(all[0].ends_with("PROBLEM - \u{feff}node lb 1: ü\\r\\n<0>1"), "{all:?}");
        assert!(all[1].ends_with("RECOVERED - all clear after 12 min"), "{all:?}");
    }
}
