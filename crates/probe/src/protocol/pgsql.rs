//! PostgreSQL.
//!
//! A check without a user signs in as "evenkeel" up to where a password is asked for, and leaves there, which the server
//! takes without a word. One that knows no such user, or lets none in from this node, works too, and notes it in its
//! log; a check with a user of its own leaves no note.
mod message;

use keel_model::LoginCheck;
use postgres_protocol::authentication::{
    md5_hash,
    sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
};

use self::message::{Message, Refusal};
use crate::{Fault, Question, ask::Finding, line::Line, rest::Rest, text::words};

/// Who asks when the check names nobody, and for what.
const STRANGER: &str = "evenkeel";
const DATABASE: &str = "postgres";
/// A Terminate message.
const TERMINATE: &[u8] = &[b'X', 0, 0, 0, 4];
/// Messages between two steps at most: a login tells some twenty parameters.
const MESSAGES: usize = 200;
/// A standby says so; a primary may have been told to refuse writes.
const READ_ONLY: &[u8] = b"SELECT pg_is_in_recovery(), current_setting('transaction_read_only')\0";

pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    login: &LoginCheck,
) -> Result<Finding, Fault> {
    if question.tls.is_some() {
        secure(&mut line, question, login).await?;
    }
    let ends = line.certificate_ends();
    line.begin("waiting for the answer to the login");
    let user = login.user.as_deref().unwrap_or(STRANGER);
    let database = login.database.as_deref().or(login.user.as_deref()).unwrap_or(DATABASE);
    line.send(&message::startup(user, database)).await?;
    let Some(user) = &login.user else {
        let text = stranger(&mut line).await?;
        // Before the login is over nothing may be said but the end.
        line.part(&[]);
        return Ok(Finding::good(text).with_certificate(ends));
    };
    let password = question.secret.as_ref().map_or(&[][..], |secret| &secret.0);
    sign_in(&mut line, user, password).await?;
    // The database and the limits are looked at after the password.
    until_ready(&mut line).await?;
    let mut text = "login accepted";
    if login.writable {
        writable(&mut line).await?;
        text = "login accepted, takes writes";
    }
    line.part(TERMINATE);
    Ok(Finding::good(text).with_certificate(ends))
}

/// Changes over to TLS. Nothing but the one letter may come before it (CVE-2021-23222), which `secure` sees to.
async fn secure(line: &mut Line<'_>, question: &Question, login: &LoginCheck) -> Result<(), Fault> {
    let Some(ready) = &question.tls else { return Ok(()) };
    line.begin("waiting for the answer to SSLRequest");
    line.send(&message::frame(&80_877_103_u32.to_be_bytes())).await?;
    match line.exact(1).await?[..] {
        [b'S'] => line.secure(&login.tls, ready, None).await,
        [b'N'] => Err(Fault::unexpected("the server offers no TLS")),
        ref other => Err(Fault::unexpected(format!(
            "this is no PostgreSQL server: \"{}\"",
            words([other, line.ahead()].concat())
        ))),
    }
}

/// The next message that isn't a notice or a parameter.
async fn next(line: &mut Line<'_>) -> Result<Message, Fault> {
    for _ in 0..MESSAGES {
        let message = message::receive(line).await?;
        // NoticeResponse, ParameterStatus, BackendKeyData, NegotiateProtocolVersion
        if !matches!(message.kind, b'N' | b'S' | b'K' | b'v') {
            return Ok(message);
        }
    }
    Err(Fault::unexpected("notices without end"))
}

fn confused(message: &Message) -> Fault {
    Fault::unexpected(format!("answered with a message of type \"{}\"", words([message.kind])))
}

/// A server that asks who is there, or refuses to let that one in, works.
async fn stranger(line: &mut Line<'_>) -> Result<&'static str, Fault> {
    for _ in 0..2 {
        let message = next(line).await?;
        match message.kind {
            // It trusts everybody, and says next whether it has room.
            b'R' if message.body == [0; 4] => {}
            b'R' if message.body.len() >= 4 => return Ok("asks for a login"),
            b'Z' => return Ok("lets everybody in"),
            b'E' => {
                let refusal = Refusal::read(&message.body);
                return if refusal.is_about_everybody() {
                    Err(refusal.fault("refused"))
                } else {
                    Ok("asks for a login")
                };
            }
            _ => return Err(confused(&message)),
        }
    }
    Err(senseless())
}

/// Proves the password in the way that the server asks for.
async fn sign_in(line: &mut Line<'_>, user: &str, password: &[u8]) -> Result<(), Fault> {
    let message = authentication(line).await?;
    let mut rest = Rest(&message);
    match rest.array().map(u32::from_be_bytes) {
        Some(0) => return Ok(()),
        Some(3) if line.tls().is_some() => send_password(line, password).await?,
        Some(3) => {
            return Err(Fault::unexpected("the server wants the password in clear text: turn `tls` on"));
        }
        Some(5) => {
            let salt = rest.array().ok_or_else(senseless)?;
            send_password(line, md5_hash(user.as_bytes(), password, salt).as_bytes()).await?;
        }
        Some(10) => scram(line, password, &mut rest).await?,
        Some(other) => {
            return Err(Fault::unexpected(format!(
                "the server wants a login that checks don't know (method {other}): give the user a password"
            )));
        }
        None => return Err(senseless()),
    }
    match authentication(line).await?[..] {
        [0, 0, 0, 0] => Ok(()),
        _ => Err(senseless()),
    }
}

fn senseless() -> Fault {
    Fault::unexpected("its answer to the login makes no sense")
}

/// The next message about the login.
async fn authentication(line: &mut Line<'_>) -> Result<Vec<u8>, Fault> {
    let message = next(line).await?;
    match message.kind {
        b'R' => Ok(message.body),
        b'E' => Err(login_refused(&message)),
        _ => Err(confused(&message)),
    }
}

fn login_refused(message: &Message) -> Fault {
    let refusal = Refusal::read(&message.body);
    refusal.fault(if refusal.is_about_everybody() { "refused" } else { "login refused" })
}

async fn send_password(line: &mut Line<'_>, password: &[u8]) -> Result<(), Fault> {
    let body = [password, b"\0"].concat();
    line.send_secret(&message::write(b'p', &body), "password").await
}

/// SCRAM (RFC 5802, RFC 7677). The server proves that it knows the password, too. How many rounds it may ask of us
/// is limited by the library.
async fn scram(line: &mut Line<'_>, password: &[u8], offered: &mut Rest<'_>) -> Result<(), Fault> {
    let mut known = false;
    while let Some(name) = offered.text().filter(|name| !name.is_empty()) {
        known |= name == SCRAM_SHA_256.as_bytes();
    }
    if !known {
        return Err(Fault::unexpected("the server offers no SCRAM-SHA-256"));
    }
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    let mut first = [SCRAM_SHA_256.as_bytes(), b"\0"].concat();
    first.extend_from_slice(&u32::try_from(scram.message().len()).unwrap_or(u32::MAX).to_be_bytes());
    first.extend_from_slice(scram.message());
    line.send_secret(&message::write(b'p', &first), "SCRAM, the beginning").await?;
    let answer = sasl(line, 11).await?;
    scram.update(&answer).map_err(|error| scram_fault(&error))?;
    line.send_secret(&message::write(b'p', scram.message()), "SCRAM, the proof").await?;
    let answer = sasl(line, 12).await?;
    scram.finish(&answer).map_err(|error| scram_fault(&error))
}

fn scram_fault(error: &std::io::Error) -> Fault {
    Fault::unexpected(format!("its SCRAM makes no sense: {}", words(error.to_string().as_bytes())))
}

/// What SCRAM has to say at this step.
async fn sasl(line: &mut Line<'_>, step: u32) -> Result<Vec<u8>, Fault> {
    let message = authentication(line).await?;
    match message.strip_prefix(&step.to_be_bytes()) {
        Some(said) => Ok(said.to_vec()),
        None => Err(senseless()),
    }
}

/// Waits until questions may be asked.
async fn until_ready(line: &mut Line<'_>) -> Result<(), Fault> {
    let message = next(line).await?;
    match message.kind {
        b'Z' => Ok(()),
        b'E' => Err(login_refused(&message)),
        _ => Err(confused(&message)),
    }
}

/// Whether the server takes writes.
async fn writable(line: &mut Line<'_>) -> Result<(), Fault> {
    line.begin("waiting for the answer to SELECT pg_is_in_recovery()");
    line.send(&message::write(b'Q', READ_ONLY)).await?;
    let mut answer = next(line).await?;
    if answer.kind == b'T' {
        answer = next(line).await?;
    }
    match answer.kind {
        b'D' => {}
        b'E' => return Err(Refusal::read(&answer.body).fault("query refused")),
        _ => return Err(confused(&answer)),
    }
    match message::row(&answer.body).as_deref() {
        Some([b"f", b"off"]) => Ok(()),
        Some([b"t", _]) => Err(Fault::unexpected("it is a standby: writes are refused")),
        Some([b"f", b"on"]) => {
            Err(Fault::unexpected("writes are refused (default_transaction_read_only is on)"))
        }
        _ => Err(Fault::unexpected("its answer to SELECT pg_is_in_recovery() makes no sense")),
    }
}
