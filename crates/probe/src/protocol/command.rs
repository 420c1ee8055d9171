//! What protocols of command lines share (SMTP, IMAP, POP3, NNTP, FTP): numbered replies, TLS from the first byte or
//! asked for, words that can't smuggle a second command, and a farewell that costs no verdict.
use std::time::Duration;

use keel_model::{LoginCheck, Tls};

use crate::{
    Fault, Question,
    line::{LIMIT, Line},
    question::Secret,
    text::words,
};

/// How long an answer to the farewell is waited for.
const FAREWELL: Duration = Duration::from_millis(500);

/// A reply that begins with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Its lines without the number; one at least.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// "554 no service here": a reply of several lines is told by its last, which sums it up.
    pub(crate) fn words(&self) -> String {
        let last = self.lines.iter().rev().find(|line| !line.trim().is_empty());
        words(format!("{} {}", self.code, last.map_or("", |line| line.trim())))
    }

    /// Whether the server says that it can't or won't for good.
    pub(crate) fn is_refusal(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// It, if it has one of these codes; else what was tried and the server's words.
    pub(crate) fn or_refused(self, codes: &[u16], what: &str) -> Result<Self, Fault> {
        if codes.contains(&self.code) {
            Ok(self)
        } else {
            Err(Fault::unexpected(format!("{what}: {}", self.words())))
        }
    }
}

/// How replies of several lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Every line has the number (RFC 5321 4.2.1).
    EveryLine,
    /// The first and the last line have it, what is between is anything (RFC 959 4.2).
    Ends,
    /// There is one line (RFC 3977 3.2).
    Single,
}

/// What a line of a reply is: its number, whether more follow, and its text.
fn parse(line: &str) -> Option<(u16, bool, &str)> {
    let digits = line.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let code = digits.parse().ok().filter(|code| (100..600).contains(code))?;
    let rest = &line[3..];
    match rest.as_bytes().first() {
        None => Some((code, false, "")),
        Some(b' ') => Some((code, false, &rest[1..])),
        Some(b'-') => Some((code, true, &rest[1..])),
        Some(_) => None,
    }
}

/// The next reply. All its lines together stay within the limit, however many there are.
pub(crate) async fn reply(line: &mut Line<'_>, style: Style) -> Result<Reply, Fault> {
    let first = line.line().await?;
    let Some((code, mut more, text)) = parse(&first) else {
        return Err(Fault::unexpected(format!("answered \"{}\", which is no numbered reply", words(&first))));
    };
    more &= style != Style::Single;
    let mut lines = vec![text.to_owned()];
    let mut bytes = first.len();
    while more {
        let next = line.line().await?;
        // Empty lines cost as well.
        bytes += next.len() + 2;
        if bytes > LIMIT {
            return Err(Fault::TooLong { doing: line.trace.doing(), limit: LIMIT });
        }
        match parse(&next) {
            Some((same, follows, text)) if same == code => {
                lines.push(text.to_owned());
                more = follows;
            }
            _ if style == Style::Ends => lines.push(next),
            _ => {
                let next = words(&next);
                return Err(Fault::unexpected(format!("a reply {code} went on with \"{next}\"")));
            }
        }
    }
    Ok(Reply { code, lines })
}

/// Speaks TLS from the first byte where the check says so.
pub(crate) async fn secure_first(line: &mut Line<'_>, question: &Question, how: &Tls) -> Result<(), Fault> {
    match &question.tls {
        Some(ready) if how.tls && !how.starttls => line.secure(how, ready, None).await,
        _ => Ok(()),
    }
}

/// Changes over to TLS after the server has agreed to.
pub(crate) async fn secure_now(line: &mut Line<'_>, question: &Question, how: &Tls) -> Result<(), Fault> {
    match &question.tls {
        Some(ready) => line.secure(how, ready, None).await,
        None => Err(Fault::Unable("TLS was not made ready".to_owned())),
    }
}

/// Who signs in, and with which password.
pub(crate) struct Login<'q> {
    pub(crate) user: &'q str,
    pub(crate) password: Option<&'q str>,
}

impl<'q> Login<'q> {
    /// The login of a check, if it has one. What would end a line, and so begin a command, is refused.
    pub(crate) fn of(login: &'q LoginCheck, question: &'q Question) -> Result<Option<Self>, Fault> {
        let Some(user) = &login.user else { return Ok(None) };
        let password = question.secret.as_ref().map(Secret::text).transpose()?;
        Ok(Some(Self {
            user: one_line(user, "user")?,
            password: password.map(|text| one_line(text, "secret")).transpose()?,
        }))
    }

    /// The password, where a login can't do without.
    pub(crate) fn password(&self) -> Result<&'q str, Fault> {
        self.password.ok_or_else(|| {
            Fault::Unable("the login needs a password and the check has no `secret`".to_owned())
        })
    }
}

/// The text, if it is one line.
fn one_line<'t>(text: &'t str, what: &str) -> Result<&'t str, Fault> {
    if text.contains(['\r', '\n', '\0']) {
        Err(Fault::Unable(format!("the {what} holds the end of a line or a zero byte, which can't be sent")))
    } else {
        Ok(text)
    }
}

/// Takes leave, so that the server has no lost connection to complain of. The verdict stands already: whatever comes
/// or doesn't, the question's time isn't used up by it.
pub(crate) async fn farewell(line: &mut Line<'_>, question: &Question, text: &str) {
    let left = question.timeout.saturating_sub(line.trace.elapsed());
    line.begin("waiting for the farewell");
    let talk = async {
        line.send(text.as_bytes()).await?;
        line.line().await
    };
    let _ = tokio::time::timeout(FAREWELL.min(left / 2), talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_number_a_mark_and_a_text() {
        assert_eq!(parse("220 mail ESMTP"), Some((220, false, "mail ESMTP")));
        assert_eq!(parse("250-SIZE"), Some((250, true, "SIZE")));
        assert_eq!(parse("250"), Some((250, false, "")));
        for wrong in
            ["", "22", "2200 x", "abc", "099 x", "600 x", "220x", "2é0 x", "+20 x", "\u{fffd}\u{fffd}"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_words_of_a_reply_are_its_last_line() {
        let reply = Reply { code: 554, lines: vec!["first".to_owned(), "go away \u{1b}".to_owned()] };
        assert_eq!(reply.words(), "554 go away \\u{1b}");
        let reply = Reply { code: 421, lines: vec!["x".repeat(500)] };
        assert!(reply.words().len() < 90);
        assert_eq!(Reply { code: 250, lines: vec![String::new()] }.words(), "250");
    }

    #[test]
    fn nothing_smuggles_a_command() {
        assert!(one_line("probe @x\t\"", "user").is_ok());
        for wrong in ["a\r\nDELE 1", "a\n", "a\rb", "a\0b"] {
            assert!(matches!(one_line(wrong, "user"), Err(Fault::Unable(_))), "{wrong:?}");
        }
    }
}
