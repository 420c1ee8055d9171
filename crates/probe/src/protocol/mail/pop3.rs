//! POP3 (RFC 1939), STLS (RFC 2595), response codes (RFC 2449).
use keel_model::LoginCheck;

use crate::{
    Fault, Question,
    ask::Finding,
    line::Line,
    protocol::command::{self, Login},
    text::words,
};

/// Is greeted, changes over to TLS and signs in if asked to, and takes leave; no mail is touched.
pub(crate) async fn pop3(
    mut line: Line<'_>,
    question: &Question,
    check: &LoginCheck,
) -> Result<Finding, Fault> {
    let login = Login::of(check, question)?;
    command::secure_first(&mut line, question, &check.tls).await?;
    line.begin("waiting for the greeting");
    accepted(&mut line, "greeted with").await?;
    if check.tls.starttls {
        line.begin("waiting for the answer to STLS");
        line.send(b"STLS\r\n").await?;
        accepted(&mut line, "STLS refused").await?;
        command::secure_now(&mut line, question, &check.tls).await?;
    }
    let text = match login {
        Some(login) => sign_in(&mut line, &login).await?,
        None => "greets",
    };
    let ends = line.certificate_ends();
    command::farewell(&mut line, question, "QUIT\r\n").await;
    Ok(Finding::good(text).with_certificate(ends))
}

async fn sign_in(line: &mut Line<'_>, login: &Login<'_>) -> Result<&'static str, Fault> {
    let password = login.password()?;
    line.begin("waiting for the answer to the login");
    line.send(format!("USER {}\r\n", login.user).as_bytes()).await?;
    accepted(line, "login refused").await?;
    line.send_secret(format!("PASS {password}\r\n").as_bytes(), "the password").await?;
    match answer(line).await? {
        Ok(()) => Ok("login accepted"),
        // The password was right, and somebody has the mailbox open: perhaps our other node (RFC 2449 8.1.1).
        Err(said) if said.contains("[IN-USE]") => Ok("login accepted, the mailbox is in use"),
        Err(said) => Err(Fault::unexpected(format!("login refused: {}", words(said)))),
    }
}

/// The next answer: fine, or the server's words.
async fn answer(line: &mut Line<'_>) -> Result<Result<(), String>, Fault> {
    let text = line.line().await?;
    match text.split(' ').next() {
        Some("+OK") => Ok(Ok(())),
        Some("-ERR") => Ok(Err(text["-ERR".len()..].trim_start().to_owned())),
        _ => Err(Fault::unexpected(format!("answered \"{}\", which is no POP3", words(&text)))),
    }
}

async fn accepted(line: &mut Line<'_>, what: &str) -> Result<(), Fault> {
    answer(line).await?.map_err(|said| Fault::unexpected(format!("{what}: {}", words(said))))
}
