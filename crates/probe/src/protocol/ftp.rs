//! FTP (RFC 959), AUTH TLS (RFC 4217). Only the control connection is used.
use keel_model::LoginCheck;

use super::command::{self, Login, Reply, Style};
use crate::{Fault, Question, ask::Finding, line::Line};

/// Is greeted, changes over to TLS and signs in if asked to, and takes leave.
pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    check: &LoginCheck,
) -> Result<Finding, Fault> {
    let login = Login::of(check, question)?;
    command::secure_first(&mut line, question, &check.tls).await?;
    line.begin("waiting for the greeting");
    // 120 promises service in some minutes: not now.
    reply(&mut line).await?.or_refused(&[220], "greeted with")?;
    if check.tls.starttls {
        line.begin("waiting for the answer to AUTH TLS");
        line.send(b"AUTH TLS\r\n").await?;
        reply(&mut line).await?.or_refused(&[234], "AUTH TLS refused")?;
        command::secure_now(&mut line, question, &check.tls).await?;
    }
    let text = match login {
        Some(login) => {
            sign_in(&mut line, &login).await?;
            "login accepted"
        }
        None => "greets",
    };
    let ends = line.certificate_ends();
    command::farewell(&mut line, question, "QUIT\r\n").await;
    Ok(Finding::good(text).with_certificate(ends))
}

async fn reply(line: &mut Line<'_>) -> Result<Reply, Fault> {
    command::reply(line, Style::Ends).await
}

async fn sign_in(line: &mut Line<'_>, login: &Login<'_>) -> Result<(), Fault> {
    line.begin("waiting for the answer to the login");
    line.send(format!("USER {}\r\n", login.user).as_bytes()).await?;
    // 230: the name was enough; 331: the password is wanted.
    if reply(line).await?.or_refused(&[230, 331], "login refused")?.code == 230 {
        return Ok(());
    }
    let password = match login.password {
        // By custom a mail address, which nobody looks at (RFC 1635).
        None if login.user == "anonymous" || login.user == "ftp" => "anonymous@",
        _ => login.password()?,
    };
    line.send_secret(format!("PASS {password}\r\n").as_bytes(), "the password").await?;
    // 202: superfluous, the user was in already.
    reply(line).await?.or_refused(&[230, 202], "login refused").map(drop)
}
