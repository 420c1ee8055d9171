//! NNTP (RFC 3977), STARTTLS (RFC 4642), AUTHINFO (RFC 4643).
use keel_model::LoginCheck;

use crate::{
    Fault, Question,
    ask::Finding,
    line::Line,
    protocol::command::{self, Login, Reply, Style},
};

/// Is greeted, changes over to TLS and signs in if asked to, and takes leave.
pub(crate) async fn nntp(
    mut line: Line<'_>,
    question: &Question,
    check: &LoginCheck,
) -> Result<Finding, Fault> {
    let login = Login::of(check, question)?;
    command::secure_first(&mut line, question, &check.tls).await?;
    line.begin("waiting for the greeting");
    let mut text = match reply(&mut line).await?.or_refused(&[200, 201], "greeted with")?.code {
        200 => "greets, posting allowed",
        _ => "greets, posting prohibited",
    };
    if check.tls.starttls {
        line.begin("waiting for the answer to STARTTLS");
        line.send(b"STARTTLS\r\n").await?;
        reply(&mut line).await?.or_refused(&[382], "STARTTLS refused")?;
        command::secure_now(&mut line, question, &check.tls).await?;
    }
    if let Some(login) = login {
        sign_in(&mut line, &login).await?;
        text = "login accepted";
    }
    let ends = line.certificate_ends();
    command::farewell(&mut line, question, "QUIT\r\n").await;
    Ok(Finding::good(text).with_certificate(ends))
}

async fn reply(line: &mut Line<'_>) -> Result<Reply, Fault> {
    command::reply(line, Style::Single).await
}

async fn sign_in(line: &mut Line<'_>, login: &Login<'_>) -> Result<(), Fault> {
    line.begin("waiting for the answer to the login");
    line.send(format!("AUTHINFO USER {}\r\n", login.user).as_bytes()).await?;
    // 281: the name was enough; 381: the password is wanted.
    if reply(line).await?.or_refused(&[281, 381], "login refused")?.code == 281 {
        return Ok(());
    }
    let password = login.password()?;
    line.send_secret(format!("AUTHINFO PASS {password}\r\n").as_bytes(), "the password").await?;
    reply(line).await?.or_refused(&[281], "login refused").map(drop)
}
