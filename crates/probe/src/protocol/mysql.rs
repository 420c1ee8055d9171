//! MySQL and MariaDB.
//!
//! A server counts whoever leaves between its greeting and the end of the login, and after `max_connect_errors` of
//! them blocks the whole host: the node and, in NAT, every client behind it. A login that is refused doesn't count
//! there. So a check without a user doesn't hang up at the greeting: it signs in as "evenkeel" without a password,
//! lets itself be refused, and takes that for what it is, a server that works. The server notes an "Access denied" of
//! it in its log, where it would otherwise note an aborted connection; a check with a user of its own leaves neither.
mod auth;
mod packet;

use std::time::Duration;

use keel_model::LoginCheck;

use self::{
    auth::Plugin,
    packet::{Greeting, Packets, Refusal},
};
use crate::{Fault, Question, ask::Finding, line::Line, text::words};

/// Who asks when the check names nobody.
const STRANGER: &str = "evenkeel";
/// COM_QUIT, as a packet.
const QUIT: &[u8] = &[1, 0, 0, 0, 1];
const COM_QUERY: u8 = 3;
/// Packets of a login at most.
const ROUNDS: usize = 8;
/// One statement that every server knows, and that is answered without those variables that it doesn't have.
/// `innodb_read_only` is what a reader of Aurora has.
const READ_ONLY: &str =
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only','super_read_only','innodb_read_only')";

pub(crate) async fn check(
    mut line: Line<'_>,
    question: &Question,
    login: &LoginCheck,
) -> Result<Finding, Fault> {
    let mut packets = Packets::new(&mut line);
    packets.begin("waiting for the greeting");
    let first = packets.receive().await?;
    if login.user.is_none()
        && question.tls.is_none()
        && let Some(refusal) = knows_nobody_here(&first)
    {
        line.part(&[]);
        return Ok(Finding::good(format!("answers: {}", refusal.text)));
    }
    let greeting = packet::greeting(&first)?;
    let flags = flags(&greeting, login)?;
    if question.tls.is_some() {
        secure(&mut packets, &greeting, flags, question, login).await?;
    }
    let ends = packets.line.certificate_ends();
    let text = match &login.user {
        None => be_refused(&mut packets, &greeting, flags, question.timeout / 2).await?,
        Some(user) => {
            let account = Account {
                user,
                password: question.secret.as_ref().map_or(&[], |secret| &secret.0),
                database: login.database.as_deref(),
                flags: flags | if question.tls.is_some() { packet::SSL } else { 0 },
            };
            if let Some(refusal) = sign_in(&mut packets, &greeting, &account).await? {
                return Err(Fault::unexpected(format!("login refused: {}", refusal.text)));
            }
            if login.writable {
                writable(&mut packets).await?;
            }
            let writes = if login.writable { " and writes" } else { "" };
            format!("{} accepts the login{writes}", greeting.server)
        }
    };
    line.part(QUIT);
    Ok(Finding::good(text).with_certificate(ends))
}

/// The refusal, if none of the server's accounts may come from this node: said in place of the greeting, by a server that
/// works, to which its clients come from elsewhere. Not 1129: that one is blocked after too many errors.
fn knows_nobody_here(first: &[u8]) -> Option<Refusal> {
    /// ER_HOST_NOT_PRIVILEGED
    const NOT_FROM_HERE: u16 = 1130;
    let refusal = (first.first() == Some(&0xff)).then(|| Refusal::read(first))?;
    (refusal.code == NOT_FROM_HERE).then_some(refusal)
}

/// What both ends can do and a check needs.
fn flags(greeting: &Greeting, login: &LoginCheck) -> Result<u32, Fault> {
    let needed = packet::PROTOCOL_41 | packet::SECURE_CONNECTION;
    if greeting.can & needed != needed {
        return Err(Fault::unexpected(format!("{} is too old: it knows no secure login", greeting.server)));
    }
    let useful = packet::LONG_PASSWORD | packet::LONG_FLAG | packet::TRANSACTIONS | packet::PLUGIN_AUTH;
    let database = if login.user.is_some() && login.database.is_some() { packet::CONNECT_WITH_DB } else { 0 };
    Ok(needed | greeting.can & useful | database)
}

/// Changes over to TLS: the beginning of a login that stops where the name would come.
async fn secure(
    packets: &mut Packets<'_, '_>,
    greeting: &Greeting,
    flags: u32,
    question: &Question,
    login: &LoginCheck,
) -> Result<(), Fault> {
    let Some(ready) = &question.tls else { return Ok(()) };
    if greeting.can & packet::SSL == 0 {
        return Err(Fault::unexpected(format!("{} offers no TLS", greeting.server)));
    }
    packets.send(&packet::opening(flags | packet::SSL)).await?;
    packets.line.secure(&login.tls, ready, None).await
}

/// Who signs in.
struct Account<'a> {
    user: &'a str,
    password: &'a [u8],
    database: Option<&'a str>,
    flags: u32,
}

/// Signs in; a refusal is returned, as it may be what is wanted.
async fn sign_in(
    packets: &mut Packets<'_, '_>,
    greeting: &Greeting,
    account: &Account<'_>,
) -> Result<Option<Refusal>, Fault> {
    packets.line.begin("waiting for the answer to the login");
    let secure = packets.line.tls().is_some();
    let mut salt = greeting.salt.clone();
    // A server whose default is unknown here says for this account what it wants.
    let mut plugin = match Plugin::named(&greeting.plugin) {
        Some(plugin @ (Plugin::Native | Plugin::CachingSha2)) => plugin,
        _ => Plugin::Native,
    };
    let proof = plugin.proof(account.password, &salt, secure)?;
    let login = packet::login(account.flags, account.user, &proof, account.database, plugin.name());
    packets.send_secret(&login, "login").await?;
    for _ in 0..ROUNDS {
        let answer = packets.receive().await?;
        match answer[..] {
            [0, ..] => return Ok(None),
            [0xff, ..] => return Ok(Some(Refusal::read(&answer))),
            [0xfe] => {
                return Err(Fault::unexpected(
                    "the account has a password of before MySQL 4.1, which is not safe to send",
                ));
            }
            [0xfe, ..] => {
                let (name, new_salt) = packet::switch(&answer).ok_or_else(confused)?;
                salt = new_salt;
                let proof = match Plugin::named(&name) {
                    Some(known) => {
                        plugin = known;
                        plugin.proof(account.password, &salt, secure)?
                    }
                    // Whoever has no password has nothing to prove, in whatever way.
                    None if account.password.is_empty() => Vec::new(),
                    None => return Err(unknown(&name)),
                };
                packets.send_secret(&proof, "proof of the password").await?;
            }
            // It may ask whoever has no password whatever it likes (PAM): the answer is nothing.
            _ if account.password.is_empty() => packets.send(&[]).await?,
            [1, ref more @ ..] => prove(packets, plugin, account.password, &salt, more).await?,
            _ => return Err(confused()),
        }
    }
    Err(Fault::unexpected("the login has no end"))
}

/// Goes on where the proof wasn't enough (AuthMoreData).
async fn prove(
    packets: &mut Packets<'_, '_>,
    plugin: Plugin,
    password: &[u8],
    salt: &[u8],
    more: &[u8],
) -> Result<(), Fault> {
    let secure = packets.line.tls().is_some();
    match (plugin, more) {
        // The proof was known; the end of the login follows.
        (Plugin::CachingSha2, [3]) => Ok(()),
        // It wasn't, and the server must see the password once.
        (Plugin::CachingSha2, [4]) if secure => {
            packets.send_secret(&auth::clear(password), "password, over TLS").await
        }
        (Plugin::CachingSha2, [4]) => packets.send(&[2]).await,
        (Plugin::CachingSha2 | Plugin::Sha256, key) if !secure && key.starts_with(b"-----BEGIN") => {
            let sealed = auth::sealed(password, salt, key)?;
            packets.send_secret(&sealed, "password, encrypted for the server").await
        }
        _ => Err(confused()),
    }
}

fn confused() -> Fault {
    Fault::unexpected("its answer to the login makes no sense")
}

fn unknown(plugin: &str) -> Fault {
    Fault::unexpected(format!(
        "the account signs in with {}, which checks don't know: give it mysql_native_password or \
         caching_sha2_password",
        words(plugin)
    ))
}

/// Signs in as nobody. The greeting is enough: a server that makes strangers wait (connection_control) has greeted.
async fn be_refused(
    packets: &mut Packets<'_, '_>,
    greeting: &Greeting,
    flags: u32,
    patience: Duration,
) -> Result<String, Fault> {
    let flags = flags | if packets.line.tls().is_some() { packet::SSL } else { 0 };
    let account = Account { user: STRANGER, password: &[], database: None, flags };
    let server = &greeting.server;
    match tokio::time::timeout(patience, sign_in(packets, greeting, &account)).await {
        Ok(Ok(Some(refusal))) if !is_about_the_account(&refusal) => {
            Err(Fault::unexpected(format!("refused: {}", refusal.text)))
        }
        Ok(Err(fault)) => Err(fault),
        Ok(Ok(Some(_) | None)) | Err(_) => Ok(format!("{server} answers")),
    }
}

/// Whether the server refused the stranger, and not everybody.
fn is_about_the_account(refusal: &Refusal) -> bool {
    /// Of the handshake: no such way to sign in (1251), no such plugin (1524), locked (3118), expired (1820, 1862),
    /// TLS needed (3159).
    const ALSO: [u16; 6] = [1251, 1524, 1820, 1862, 3118, 3159];
    refusal.state == Some(*b"28000") || ALSO.contains(&refusal.code)
}

/// Whether the server takes writes.
async fn writable(packets: &mut Packets<'_, '_>) -> Result<(), Fault> {
    packets.begin("waiting for the answer to SHOW VARIABLES");
    let mut query = vec![COM_QUERY];
    query.extend_from_slice(READ_ONLY.as_bytes());
    packets.send(&query).await?;
    let first = packets.receive().await?;
    if first.first() == Some(&0xff) {
        return Err(Fault::unexpected(format!("query refused: {}", Refusal::read(&first).text)));
    }
    if first != [2] {
        return Err(Fault::unexpected("its answer to SHOW VARIABLES has not two columns"));
    }
    // Two descriptions of columns and their end, then a row for each variable and the end.
    for _ in 0..3 {
        packets.receive().await?;
    }
    for _ in 0..=3 {
        let row = packets.receive().await?;
        match row[..] {
            [0xff, ..] => {
                return Err(Fault::unexpected(format!("query refused: {}", Refusal::read(&row).text)));
            }
            [0xfe, ..] if row.len() < 9 => return Ok(()),
            _ => refuse_read_only(&row)?,
        }
    }
    Err(Fault::unexpected("its answer to SHOW VARIABLES has no end"))
}

/// MariaDB 12 has more values than ON and OFF.
fn refuse_read_only(row: &[u8]) -> Result<(), Fault> {
    match packet::row(row).as_deref() {
        Some([_, b"OFF" | b"0"]) => Ok(()),
        Some([name, value]) => Err(Fault::unexpected(format!(
            "it is a replica: writes are refused ({} = {})",
            words(name),
            words(value)
        ))),
        _ => Err(Fault::unexpected("its answer to SHOW VARIABLES makes no sense")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_refused_as_such_or_with_everybody() {
        let told = |packet: &[u8]| is_about_the_account(&Refusal::read(packet));
        assert!(told(b"\xff\x15\x04#28000Access denied"));
        assert!(told(b"\xff\x57\x0c#HY000Connections using insecure transport are prohibited"));
        assert!(!told(b"\xff\x10\x04#08004Too many connections"));
    }

    #[test]
    fn read_only_is_whatever_is_not_off() {
        assert!(refuse_read_only(b"\x09read_only\x03OFF").is_ok());
        for row in [&b"\x09read_only\x02ON"[..], b"\x09read_only\x07NO_LOCK"] {
            assert!(refuse_read_only(row).unwrap_err().to_string().contains("it is a replica"));
        }
        assert!(refuse_read_only(b"\x09read_only").is_err());
    }
}
