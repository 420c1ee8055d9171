//! Redis, Valkey and what else speaks RESP.
use keel_model::LoginCheck;

use crate::{
    Fault, Question,
    ask::Finding,
    line::{LIMIT, Line},
    text::words,
};

/// How deep arrays may lie in arrays: ROLE needs two.
const DEPTH: usize = 4;
/// Values of one reply at most: a primary with 300 replicas names them all.
const VALUES: usize = 1024;

/// One reply (RESP2).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Simple(String),
    Error(String),
    Number(i64),
    Text(Vec<u8>),
    Nothing,
    Array(Vec<Reply>),
}

impl Reply {
    /// In words, for a reason.
    fn words(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => words(text.as_bytes()),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => words(text),
            Self::Nothing => "nothing".to_owned(),
            Self::Array(items) => format!("a list of {}", items.len()),
        }
    }

    fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text) => Some(text.as_bytes()),
            Self::Text(text) => Some(text),
            Self::Error(_) | Self::Number(_) | Self::Nothing | Self::Array(_) => None,
        }
    }
}

pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    login: &LoginCheck,
) -> Result<Finding, Fault> {
    if let Some(ready) = &question.tls {
        line.secure(&login.tls, ready, None).await?;
    }
    let ends = line.certificate_ends();
    let signed_in = login.user.is_some() || question.secret.is_some();
    if signed_in {
        sign_in(&mut line, question, login).await?;
    }
    line.begin("waiting for the answer to PING");
    line.send(&command(&[b"PING"])).await?;
    match reply(&mut line).await? {
        Reply::Simple(text) if text == "PONG" => {}
        Reply::Error(text) if text.starts_with("NOAUTH") && !signed_in => {
            return Err(Fault::unexpected(format!(
                "it asks for a password, and the check has no `secret`: {}",
                words(text.as_bytes())
            )));
        }
        other => return Err(refused("PING", &other)),
    }
    if login.writable {
        primary(&mut line).await?;
    }
    let text = match (login.writable, signed_in) {
        (true, _) => "it is the primary",
        (false, true) => "login accepted, PONG",
        (false, false) => "PONG",
    };
    line.part(b"QUIT\r\n");
    Ok(Finding::good(text).with_certificate(ends))
}

async fn sign_in(line: &mut Line<'_>, question: &Question, login: &LoginCheck) -> Result<(), Fault> {
    line.begin("waiting for the answer to the login");
    let secret = question.secret.as_ref().map_or(&b""[..], |secret| &secret.0);
    let said = match &login.user {
        Some(user) => command(&[b"AUTH", user.as_bytes(), secret]),
        None => command(&[b"AUTH", secret]),
    };
    line.send_secret(&said, "AUTH").await?;
    match reply(line).await? {
        Reply::Simple(text) if text == "OK" => Ok(()),
        Reply::Error(text) if busy(&text).is_none() => {
            Err(Fault::unexpected(format!("login refused: {}", words(text.as_bytes()))))
        }
        other => Err(refused("AUTH", &other)),
    }
}

/// Whether it takes writes.
async fn primary(line: &mut Line<'_>) -> Result<(), Fault> {
    line.begin("waiting for the answer to ROLE");
    line.send(&command(&[b"ROLE"])).await?;
    let answer = reply(line).await?;
    let Reply::Array(items) = &answer else { return Err(refused("ROLE", &answer)) };
    match (items.first().and_then(Reply::text), &items[..]) {
        (Some(b"master"), _) => Ok(()),
        (Some(b"slave"), [_, host, Reply::Number(port), ..]) => {
            Err(Fault::unexpected(format!("it is a replica of {}:{port}: writes are refused", host.words())))
        }
        (Some(role), _) => Err(Fault::unexpected(format!("its role is {}, not master", words(role)))),
        (None, _) => Err(refused("ROLE", &answer)),
    }
}

/// A command as an array of texts, which may hold any byte.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// What a state of the server is called.
fn busy(error: &str) -> Option<&'static str> {
    match error.split(' ').next()? {
        "LOADING" => Some("it is still loading its data"),
        "MASTERDOWN" => Some("it is a replica that has lost its primary"),
        "BUSY" => Some("it is busy with a script"),
        "MISCONF" => Some("it can't save its data and refuses writes"),
        "DENIED" => Some("it refuses connections from other machines"),
        "CLUSTERDOWN" => Some("its cluster is down"),
        "NOPERM" => Some("the user may not ask this"),
        _ => None,
    }
}

fn refused(what: &str, answer: &Reply) -> Fault {
    let said = answer.words();
    Fault::unexpected(match answer {
        Reply::Error(text) => match busy(text) {
            Some(state) => format!("{state}: {said}"),
            None => format!("{what} was refused: {said}"),
        },
        _ => format!("answered {what} with \"{said}\""),
    })
}

/// Reads one reply. Arrays in arrays are built without recursion; what is open is at most [`DEPTH`] deep.
async fn reply(line: &mut Line<'_>) -> Result<Reply, Fault> {
    let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
    let mut left = LIMIT;
    for _ in 0..VALUES {
        let mut value = match head(line, &mut left).await? {
            Head::Value(value) => value,
            Head::Text(length) => Reply::Text(text(line, length, &mut left).await?),
            Head::Array(0) => Reply::Array(Vec::new()),
            Head::Array(count) if open.len() < DEPTH => {
                open.push((count, Vec::new()));
                continue;
            }
            Head::Array(_) => return Err(Fault::unexpected("answered lists in lists without end")),
        };
        // The value may end the array that it is in, which may end another.
        loop {
            let Some((count, items)) = open.last_mut() else { return Ok(value) };
            items.push(value);
            if items.len() < *count {
                break;
            }
            value = Reply::Array(std::mem::take(items));
            open.pop();
        }
    }
    Err(Fault::unexpected(format!("answered more than {VALUES} values")))
}

/// How a value begins.
enum Head {
    Value(Reply),
    Text(usize),
    Array(usize),
}

async fn head(line: &mut Line<'_>, left: &mut usize) -> Result<Head, Fault> {
    let text = line.line().await?;
    spend(line, left, text.len() + 2)?;
    parse_head(&text)
        .ok_or_else(|| Fault::unexpected(format!("this is no Redis server: \"{}\"", words(text.as_bytes()))))
}

fn parse_head(text: &str) -> Option<Head> {
    let kind = text.chars().next()?;
    let rest = text.get(1..)?;
    Some(match kind {
        '+' => Head::Value(Reply::Simple(rest.to_owned())),
        '-' => Head::Value(Reply::Error(rest.to_owned())),
        ':' => Head::Value(Reply::Number(rest.parse().ok()?)),
        '$' | '*' if rest == "-1" => Head::Value(Reply::Nothing),
        '$' => Head::Text(rest.parse().ok()?),
        '*' => Head::Array(rest.parse().ok()?),
        _ => return None,
    })
}

async fn text(line: &mut Line<'_>, length: usize, left: &mut usize) -> Result<Vec<u8>, Fault> {
    spend(line, left, length.saturating_add(2))?;
    let mut bytes = line.exact(length + 2).await?;
    if bytes.split_off(length) != b"\r\n" {
        return Err(Fault::unexpected("a text of its answer is longer than it says"));
    }
    Ok(bytes)
}

/// The whole reply has [`LIMIT`] bytes.
fn spend(line: &Line<'_>, left: &mut usize, count: usize) -> Result<(), Fault> {
    let too_long = || Fault::TooLong { doing: line.trace.doing(), limit: LIMIT };
    *left = left.checked_sub(count).ok_or_else(too_long)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_that_are_not_negative() {
        assert!(matches!(parse_head("$3"), Some(Head::Text(3))));
        assert!(matches!(parse_head("*2"), Some(Head::Array(2))));
        assert!(matches!(parse_head("$-1"), Some(Head::Value(Reply::Nothing))));
        for wrong in ["", "$", "$-2", "*x", ":1.5", "HTTP/1.1 200 OK", "ü"] {
            assert!(parse_head(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_command_may_hold_any_byte() {
        assert_eq!(command(&[b"AUTH", b"a b\r\n"]), b"*2\r\n$4\r\nAUTH\r\n$5\r\na b\r\n\r\n");
    }
}
