//! A check made ready: patterns compiled, secrets read, TLS set up, once and not at every question.
use std::{fmt, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use keel_model::{Check, Health, Through, Tls, Turn};
use regex::bytes::Regex;

use crate::{ReadyError, hidden::Hidden, through, tls};

/// Reads a secret by its name: none if there is none, and why it can't be used otherwise.
pub type ReadSecret<'f> = dyn Fn(&str) -> Result<Option<Vec<u8>>, String> + 'f;

/// Where what a check refers to is kept.
pub struct Files<'f> {
    /// Reads a secret.
    pub secret: &'f ReadSecret<'f>,
    /// The folder of secrets, for messages.
    pub secrets: PathBuf,
    /// The folder of our own authorities.
    pub authorities: PathBuf,
    /// The folder of scripts.
    pub scripts: PathBuf,
}

impl fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("scripts", &self.scripts).finish_non_exhaustive()
    }
}

/// One turn of a dialogue, made ready.
#[derive(Debug, Clone)]
pub(crate) enum ReadyTurn {
    Send(String),
    Expect(String),
    Match(Regex),
}

/// A password: shown to nobody.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Secret {
    /// As text, for protocols that know no other.
    pub(crate) fn text(&self) -> Result<&str, crate::Fault> {
        std::str::from_utf8(&self.0)
            .map_err(|_| crate::Fault::Unable("the secret is not UTF-8 text".to_owned()))
    }
}

/// A check that can be carried out.
#[derive(Debug, Clone)]
pub struct Question {
    pub(crate) check: Check,
    pub(crate) timeout: Duration,
    pub(crate) through: Through,
    /// Set where the check speaks TLS.
    pub(crate) tls: Option<tls::Ready>,
    /// The password of its `secret`.
    pub(crate) secret: Option<Secret>,
    /// RADIUS: the secret shared with the server.
    pub(crate) shared: Option<Secret>,
    /// What no text may show of them.
    pub(crate) hidden: Hidden,
    /// `expect_regex`.
    pub(crate) expect: Option<Regex>,
    /// `refuse_regex`.
    pub(crate) refuse: Option<Regex>,
    pub(crate) turns: Vec<ReadyTurn>,
    /// The script's file.
    pub(crate) script: Option<PathBuf>,
}

impl Question {
    /// Makes a check ready.
    ///
    /// # Errors
    /// [`ReadyError`]: something that it refers to isn't there.
    pub fn new(health: &Health, files: &Files<'_>) -> Result<Self, ReadyError> {
        let check = &health.check;
        if let (Through::Vip, Some(why)) = (health.through, through::refusal(check)) {
            return Err(ReadyError::Other(why));
        }
        let (secret, shared) = secrets(check);
        let secret = secret.map(|name| read_secret(name, files)).transpose()?;
        let shared = shared.map(|name| read_secret(name, files)).transpose()?;
        let (expect, refuse) = patterns(check);
        let turns = match check {
            Check::Tcp(tcp) => tcp.dialogue.iter().map(turn).collect::<Result<_, _>>()?,
            _ => Vec::new(),
        };
        Ok(Self {
            timeout: health.timeout,
            through: health.through,
            tls: spoken(check)
                .map(|(how, alpn)| tls::Ready::new(how, &files.authorities, alpn))
                .transpose()?,
            hidden: Hidden::new(secret.iter().chain(&shared).flat_map(|secret| on_the_wire(check, secret))),
            secret,
            shared,
            expect: expect.map(pattern).transpose()?,
            refuse: refuse.map(pattern).transpose()?,
            turns,
            script: match check {
                Check::Script(script) => Some(find_script(&script.script, files)?),
                _ => None,
            },
            check: check.clone(),
        })
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether a script of the administrator asks.
    pub(crate) fn is_script(&self) -> bool {
        matches!(self.check, Check::Script(_))
    }

    /// How long an answer is waited for. Those that run scripts say themselves when time was over, and whether the
    /// script is to blame: what they say must arrive.
    pub(crate) fn patience(&self) -> Duration {
        const ON_ITS_WAY: Duration = Duration::from_millis(250);
        if self.is_script() { self.timeout + ON_ITS_WAY } else { self.timeout }
    }
}

/// How TLS is spoken, if it is, and which protocols are offered (ALPN).
fn spoken(check: &Check) -> Option<(&Tls, &'static [&'static [u8]])> {
    use keel_model::HttpVersion as V;
    let (how, alpn): (&Tls, &'static [&'static [u8]]) = match check {
        Check::Https(http) if http.version == V::V2 => return Some((&http.tls, &[b"h2"])),
        Check::Https(http) => return Some((&http.tls, &[b"http/1.1"])),
        Check::Tls(tls) => return Some((&tls.tls, &[])),
        Check::Grpc(grpc) => (&grpc.tls, &[b"h2"]),
        Check::Tcp(tcp) => (&tcp.tls, &[]),
        Check::Smtp(smtp) => (&smtp.tls, &[]),
        Check::Ldap(ldap) => (&ldap.tls, &[]),
        Check::Imap(login)
        | Check::Pop3(login)
        | Check::Ftp(login)
        | Check::Mysql(login)
        | Check::Pgsql(login)
        | Check::Redis(login)
        | Check::Nntp(login) => (&login.tls, &[]),
        Check::Off
        | Check::Ping
        | Check::Connect
        | Check::Udp(_)
        | Check::Http(_)
        | Check::Dns(_)
        | Check::Radius(_)
        | Check::Sip(_)
        | Check::Rdp(_)
        | Check::Script(_)
        | Check::Agent(_) => return None,
    };
    (how.tls || how.starttls).then_some((how, alpn))
}

/// The names of the secrets: the password's, and the one shared with the server.
fn secrets(check: &Check) -> (Option<&str>, Option<&str>) {
    match check {
        Check::Http(http) | Check::Https(http) => (http.secret.as_deref(), None),
        Check::Imap(login)
        | Check::Pop3(login)
        | Check::Ftp(login)
        | Check::Mysql(login)
        | Check::Pgsql(login)
        | Check::Redis(login)
        | Check::Nntp(login) => (login.secret.as_deref(), None),
        Check::Ldap(ldap) => (ldap.secret.as_deref(), None),
        Check::Radius(radius) => (Some(&radius.secret), Some(&radius.shared_secret)),
        _ => (None, None),
    }
}

/// How a password may come back from a server: as it is, as IMAP quotes it, and as basic authentication writes it.
fn on_the_wire(check: &Check, secret: &Secret) -> Vec<Vec<u8>> {
    let quote = |byte: &u8| if matches!(byte, b'"' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] };
    let mut forms = vec![secret.0.clone(), secret.0.iter().flat_map(quote).collect()];
    if let Check::Http(http) | Check::Https(http) = check
        && let Some(user) = &http.user
    {
        let both = [user.as_bytes(), b":", &secret.0].concat();
        forms.push(STANDARD_NO_PAD.encode(both).into_bytes());
    }
    forms
}

fn patterns(check: &Check) -> (Option<&str>, Option<&str>) {
    match check {
        Check::Http(http) | Check::Https(http) => {
            (http.expect_regex.as_deref(), http.refuse_regex.as_deref())
        }
        Check::Tcp(tcp) => (tcp.expect_regex.as_deref(), None),
        Check::Udp(udp) => (udp.expect_regex.as_deref(), None),
        _ => (None, None),
    }
}

fn pattern(text: &str) -> Result<Regex, ReadyError> {
    Regex::new(text).map_err(|error| ReadyError::Other(error.to_string()))
}

fn turn(turn: &Turn) -> Result<ReadyTurn, ReadyError> {
    Ok(match turn {
        Turn::Send(text) => ReadyTurn::Send(text.clone()),
        Turn::Expect(text) => ReadyTurn::Expect(text.clone()),
        Turn::Match(text) => ReadyTurn::Match(pattern(text)?),
    })
}

fn read_secret(name: &str, files: &Files<'_>) -> Result<Secret, ReadyError> {
    match (files.secret)(name) {
        // An editor ends a file with a line's end, which is no part of a password.
        Ok(Some(mut bytes)) => {
            while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                bytes.pop();
            }
            if bytes.is_empty() {
                // Some servers take an empty password for no login at all, and call that a success (RFC 4513 §5.1.2).
                return Err(ReadyError::Secret { name: name.to_owned(), why: "it is empty".to_owned() });
            }
            Ok(Secret(bytes))
        }
        Ok(None) => Err(ReadyError::NoSecret { name: name.to_owned(), path: files.secrets.join(name) }),
        Err(why) => Err(ReadyError::Secret { name: name.to_owned(), why }),
    }
}

fn find_script(name: &str, files: &Files<'_>) -> Result<PathBuf, ReadyError> {
    let path = files.scripts.join(name);
    if path.is_file() { Ok(path) } else { Err(ReadyError::NoScript { name: name.to_owned(), path }) }
}
