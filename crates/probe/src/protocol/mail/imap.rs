//! IMAP (RFC 3501, RFC 9051).
use keel_model::LoginCheck;

use crate::{
    Fault, Question,
    ask::Finding,
    line::{LIMIT, Line},
    protocol::command::{self, Login},
    text::words,
};

/// Is greeted, changes over to TLS and signs in if asked to, and takes leave; no mailbox is opened.
pub(crate) async fn imap(
    mut line: Line<'_>,
    question: &Question,
    check: &LoginCheck,
) -> Result<Finding, Fault> {
    let login = Login::of(check, question)?;
    command::secure_first(&mut line, question, &check.tls).await?;
    line.begin("waiting for the greeting");
    let greeting = greeting(&line.line().await?)?;
    if check.tls.starttls {
        if greeting == Greeting::SignedIn {
            // TLS can't begin any more (RFC 3501 6.2.1), and who says so may stand in between.
            return Err(Fault::unexpected("greeted with PREAUTH, where no STARTTLS is possible"));
        }
        starttls(&mut line).await?;
        command::secure_now(&mut line, question, &check.tls).await?;
    }
    let text = match (login, greeting) {
        (None, _) => "greets",
        (Some(_), Greeting::SignedIn) => "greets, signed in already (PREAUTH)",
        (Some(login), Greeting::Strange) => {
            sign_in(&mut line, &login).await?;
            "login accepted"
        }
    };
    let ends = line.certificate_ends();
    command::farewell(&mut line, question, "a9 LOGOUT\r\n").await;
    Ok(Finding::good(text).with_certificate(ends))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// Whoever we are must sign in.
    Strange,
    /// We are signed in by other means (PREAUTH).
    SignedIn,
}

fn greeting(line: &str) -> Result<Greeting, Fault> {
    let mut parts = line.splitn(3, ' ');
    let (star, word) = (parts.next(), parts.next().unwrap_or_default());
    match word.to_ascii_uppercase().as_str() {
        "OK" if star == Some("*") => Ok(Greeting::Strange),
        "PREAUTH" if star == Some("*") => Ok(Greeting::SignedIn),
        "BYE" if star == Some("*") => {
            Err(Fault::unexpected(format!("greeted with {}", words(line.trim_start_matches("* ")))))
        }
        _ => Err(Fault::unexpected(format!("answered \"{}\", which is no IMAP", words(line)))),
    }
}

/// What came for a command.
struct Heard {
    /// The lines that have no tag, without their star.
    untagged: Vec<String>,
    /// How it ended: "OK done", "NO it isn't", or "+ go on".
    end: String,
}

impl Heard {
    fn is(&self, word: &str) -> bool {
        self.end.split(' ').next().is_some_and(|first| first.eq_ignore_ascii_case(word))
    }

    fn or_refused(self, word: &str, what: &str) -> Result<Self, Fault> {
        if self.is(word) { Ok(self) } else { Err(Fault::unexpected(format!("{what}: {}", words(&self.end)))) }
    }
}

/// Reads what comes for the command with this tag; all of it together stays within the limit.
async fn hear(line: &mut Line<'_>, tag: &str) -> Result<Heard, Fault> {
    let mut untagged = Vec::new();
    let mut bytes = 0;
    loop {
        let next = line.line().await?;
        bytes += next.len() + 2;
        if bytes > LIMIT {
            return Err(Fault::TooLong { doing: line.trace.doing(), limit: LIMIT });
        }
        if let Some(rest) = next.strip_prefix("* ") {
            if rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("BYE")) {
                return Err(Fault::unexpected(format!("the server hung up: {}", words(rest))));
            }
            untagged.push(rest.to_owned());
        } else if next == "+" || next.starts_with("+ ") {
            return Ok(Heard { untagged, end: next });
        } else if let Some(end) = next.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
            return Ok(Heard { untagged, end: end.to_owned() });
        } else {
            return Err(Fault::unexpected(format!("answered \"{}\", which is no IMAP", words(&next))));
        }
    }
}

/// Whether the server says now that it can do something.
async fn can(line: &mut Line<'_>, tag: &str, what: &str) -> Result<bool, Fault> {
    line.begin("waiting for the capabilities");
    line.send(format!("{tag} CAPABILITY\r\n").as_bytes()).await?;
    let heard = hear(line, tag).await?.or_refused("OK", "CAPABILITY refused")?;
    Ok(heard.untagged.iter().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|first| first.eq_ignore_ascii_case("CAPABILITY"))
            && words.any(|word| word.eq_ignore_ascii_case(what))
    }))
}

async fn starttls(line: &mut Line<'_>) -> Result<(), Fault> {
    if !can(line, "a1", "STARTTLS").await? {
        return Err(Fault::unexpected("the server does not offer STARTTLS"));
    }
    line.begin("waiting for the answer to STARTTLS");
    line.send(b"a2 STARTTLS\r\n").await?;
    hear(line, "a2").await?.or_refused("OK", "STARTTLS refused").map(drop)
}

/// Signs in. Capabilities are asked for anew: those from before TLS count no more (RFC 3501 6.2.1).
async fn sign_in(line: &mut Line<'_>, login: &Login<'_>) -> Result<(), Fault> {
    let password = login.password()?;
    if can(line, "a3", "LOGINDISABLED").await? {
        let tls = if line.tls().is_some() { "" } else { " without TLS: write starttls = true or tls = true" };
        return Err(Fault::unexpected(format!("the server accepts no LOGIN{tls}")));
    }
    line.begin("waiting for the answer to the login");
    let mut pending = b"a4 LOGIN ".to_vec();
    for (text, after) in [(login.user, &b" "[..]), (password, b"\r\n")] {
        if let Some(quoted) = quoted(text) {
            pending.extend_from_slice(quoted.as_bytes());
        } else {
            // A literal: its length, the server's consent, its bytes (RFC 3501 4.3).
            pending.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
            line.send_secret(&pending, "the login").await?;
            hear(line, "a4").await?.or_refused("+", "login refused")?;
            pending = text.as_bytes().to_vec();
        }
        pending.extend_from_slice(after);
    }
    line.send_secret(&pending, "the login").await?;
    hear(line, "a4").await?.or_refused("OK", "login refused")?;
    // Some accept a password and hang up where the mailboxes can't be opened: signed in is who may ask something.
    line.begin("waiting for the answer to NOOP after the login");
    line.send(b"a5 NOOP\r\n").await?;
    hear(line, "a5").await?.or_refused("OK", "NOOP refused after the login").map(drop)
}

/// The text as a quoted string, if it may be one: those are ASCII (RFC 3501 9).
fn quoted(text: &str) -> Option<String> {
    let fits = text.len() <= 512 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    fits.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_quoted_goes_as_a_literal() {
        assert_eq!(quoted("probe").as_deref(), Some("\"probe\""));
        assert_eq!(quoted("a\"b\\c d").as_deref(), Some("\"a\\\"b\\\\c d\""));
        assert_eq!(quoted("grüße"), None);
        assert_eq!(quoted("tab\t"), None);
        assert_eq!(quoted(&"x".repeat(600)), None);
    }

    #[test]
    fn greetings_are_told_apart() {
        assert_eq!(greeting("* OK [CAPABILITY IMAP4rev1] ready").unwrap(), Greeting::Strange);
        assert_eq!(greeting("* ok").unwrap(), Greeting::Strange);
        assert_eq!(greeting("* PREAUTH hello").unwrap(), Greeting::SignedIn);
        assert_eq!(greeting("* BYE too busy").unwrap_err().to_string(), "greeted with BYE too busy");
        for wrong in ["", "*", "+OK", "a OK x", "* NO", "220 x"] {
            assert!(greeting(wrong).unwrap_err().to_string().contains("no IMAP"), "{wrong}");
        }
    }
}
