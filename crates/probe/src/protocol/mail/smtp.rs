//! SMTP (RFC 5321), STARTTLS (RFC 3207).
use keel_model::SmtpCheck;

use crate::{
    Fault, Question,
    ask::Finding,
    line::Line,
    protocol::command::{self, Reply, Style},
};

/// Greets back, changes over to TLS if asked to, and takes leave before any mail.
pub(crate) async fn smtp(
    mut line: Line<'_>,
    question: &Question,
    smtp: &SmtpCheck,
) -> Result<Finding, Fault> {
    let name = smtp.hello.clone().unwrap_or_else(own_name);
    command::secure_first(&mut line, question, &smtp.tls).await?;
    line.begin("waiting for the greeting");
    reply(&mut line).await?.or_refused(&[220], "greeted with")?;
    let extensions = hello(&mut line, &name).await?;
    if smtp.tls.starttls {
        starttls(&mut line, &extensions).await?;
        command::secure_now(&mut line, question, &smtp.tls).await?;
        hello(&mut line, &name).await?;
    }
    let ends = line.certificate_ends();
    command::farewell(&mut line, question, "QUIT\r\n").await;
    let text = if ends.is_some() { "answers EHLO over TLS" } else { "answers EHLO" };
    Ok(Finding::good(text).with_certificate(ends))
}

async fn reply(line: &mut Line<'_>) -> Result<Reply, Fault> {
    command::reply(line, Style::EveryLine).await
}

/// EHLO, and HELO for servers that don't know it (RFC 5321 3.2). Returns what the server offers.
async fn hello(line: &mut Line<'_>, name: &str) -> Result<Vec<String>, Fault> {
    line.begin("waiting for the answer to EHLO");
    line.send(format!("EHLO {name}\r\n").as_bytes()).await?;
    let answer = reply(line).await?;
    if answer.is_refusal() {
        line.begin("waiting for the answer to HELO");
        line.send(format!("HELO {name}\r\n").as_bytes()).await?;
        reply(line).await?.or_refused(&[250], "HELO refused")?;
        return Ok(Vec::new());
    }
    // The first line is the server's name.
    Ok(answer.or_refused(&[250], "EHLO refused")?.lines.into_iter().skip(1).collect())
}

async fn starttls(line: &mut Line<'_>, extensions: &[String]) -> Result<(), Fault> {
    let is_starttls = |line: &String| {
        line.split_ascii_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))
    };
    if !extensions.iter().any(is_starttls) {
        return Err(Fault::unexpected("the server does not offer STARTTLS"));
    }
    line.begin("waiting for the answer to STARTTLS");
    line.send(b"STARTTLS\r\n").await?;
    reply(line).await?.or_refused(&[220], "STARTTLS refused").map(drop)
}

/// This machine's name, or one that always is a name.
fn own_name() -> String {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() < 254
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| is_name(name))
        .unwrap_or_else(|| "localhost".to_owned())
}
