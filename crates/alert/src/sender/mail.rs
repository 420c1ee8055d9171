//! Mail through a relay.
use std::{io, net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use keel_model::{Alerts, MailSecurity};
use lettre::{
    Address, Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail as MailFrom, Rcpt},
        extension::ClientId,
    },
};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Files, Secret, SendError, Sent, net};
use crate::{Report, text::shown};

/// How long a relay may take.
const TIME: Duration = Duration::from_secs(15);
/// How long it may take to say goodbye, when the mail is its own already.
const GOODBYE: Duration = Duration::from_secs(1);
/// How much it may say.
const LIMIT: usize = 256 * 1024;
/// Bytes of its words that are shown.
const WORDS: usize = 120;

/// Everything that a mail needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    relay: String,
    security: MailSecurity,
    user: Option<(String, Secret)>,
    from: Address,
    to: Vec<Address>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Mail {
    pub(super) fn new(alerts: &Alerts, files: &Files<'_>) -> Result<Self, String> {
        let relay = alerts.smtp.clone().ok_or("no mail relay is configured: set `smtp`")?;
        let password = files.read(alerts.smtp_secret.as_deref())?;
        let address = |text: &str| text.parse::<Address>().map_err(|error| format!("`{text}`: {error}"));
        let from = match &alerts.email_from {
            Some(from) => address(from)?,
            None => address(&format!("evenkeel@{}", own_name()))?,
        };
        Ok(Self {
            relay,
            security: alerts.smtp_security,
            user: alerts.smtp_user.clone().zip(password),
            from,
            to: alerts.email_to.iter().map(|to| address(to)).collect::<Result<_, _>>()?,
            authorities: files.authorities.clone(),
        })
    }

    pub(super) async fn send(&self, report: &Report) -> Result<Sent, SendError> {
        let failed = |why| SendError::Mail { relay: self.relay.clone(), why };
        let letter = self.letter(report).map_err(SendError::Unable)?;
        let stage = net::Stage::default();
        let (mut connection, sent) =
            stage.limit(TIME, self.hand_over(&letter, &stage)).await.map_err(failed)?;
        let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
        Ok(sent)
    }

    fn letter(&self, report: &Report) -> Result<Vec<u8>, String> {
        let mut letter = Message::builder()
            .from(Mailbox::new(None, self.from.clone()))
            .subject(report.title())
            .date_now()
            .message_id(None)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            letter = letter.to(Mailbox::new(None, to.clone()));
        }
        // RFC 3834 §5.1: no holiday notice in return.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        letter = letter.raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
        let letter = letter.body(report.text()).map_err(|error| format!("writing the mail: {error}"))?;
        Ok(letter.formatted())
    }

    async fn hand_over(
        &self,
        letter: &[u8],
        stage: &net::Stage,
    ) -> Result<(AsyncSmtpConnection, Sent), String> {
        let mut connection = self.connect(stage).await?;
        self.sign_in(&mut connection, stage).await?;
        stage.is("naming the sender");
        let from = MailFrom::new(Some(self.from.clone()), Vec::new());
        connection.command(from).await.map_err(|error| refused("the sender", &error))?;
        let remark = self.name_recipients(&mut connection, stage).await?;
        stage.is("handing over the mail");
        connection.command(Data).await.map_err(|error| refused("the mail", &error))?;
        connection.message(letter).await.map_err(|error| refused("the mail", &error))?;
        Ok((connection, Sent { remark }))
    }

    async fn connect(&self, stage: &net::Stage) -> Result<AsyncSmtpConnection, String> {
        stage.is("connecting");
        let (host, port) = net::host_port(&self.relay).ok_or("is not a host with a port")?;
        let stream = net::connect(host, port).await?;
        let hello = ClientId::default();
        let stream: Box<dyn AsyncTokioStream> = if self.security == MailSecurity::Tls {
            stage.is("waiting for the TLS handshake");
            let stream = net::secure(stream, host, &self.authorities).await?;
            Box::new(net::Lines::new(stream, LIMIT))
        } else {
            Box::new(net::Lines::new(stream, LIMIT))
        };
        stage.is("waiting for the greeting");
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &hello)
            .await
            .map_err(|error| refused("the greeting", &error))?;
        let wanted = matches!(self.security, MailSecurity::Opportunistic | MailSecurity::StartTls);
        if wanted && connection.can_starttls() {
            stage.is("waiting for the TLS handshake");
            let how = self.tls(host)?;
            connection.starttls(how, &hello).await.map_err(|error| refused("STARTTLS", &error))?;
        } else if self.security == MailSecurity::StartTls {
            return Err("offers no STARTTLS, without which nothing is sent".to_owned());
        }
        Ok(connection)
    }

    /// RFC 7435: by chance encrypted is better than clear text, whoever the relay is.
    fn tls(&self, host: &str) -> Result<TlsParameters, String> {
        let failed = |error: SmtpError| format!("can't be spoken to by TLS: {}", net::words(&error));
        let anybody = self.security == MailSecurity::Opportunistic;
        let mut how = TlsParameters::builder(host.to_owned())
            .dangerous_accept_invalid_certs(anybody)
            .dangerous_accept_invalid_hostnames(anybody);
        if anybody {
            how = how.certificate_store(CertificateStore::None);
        }
        for authority in &self.authorities {
            how = how.add_root_certificate(Certificate::from_der(authority.to_vec()).map_err(failed)?);
        }
        how.build_rustls().map_err(failed)
    }

    async fn sign_in(&self, connection: &mut AsyncSmtpConnection, stage: &net::Stage) -> Result<(), String> {
        let Some((user, secret)) = &self.user else { return Ok(()) };
        let encrypted = connection.is_encrypted() || self.security == MailSecurity::Tls;
        if !encrypted && self.security != MailSecurity::Off {
            return Err("offers no TLS, and the password is not sent in clear text".to_owned());
        }
        let password = std::str::from_utf8(&secret.0).map_err(|_| "needs a password that is UTF-8 text")?;
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
            return Err("offers no way to sign in that is known here (PLAIN, LOGIN)".to_owned());
        }
        stage.is("signing in");
        let credentials = Credentials::new(user.clone(), password.to_owned());
        let signed_in = connection.auth(&mechanisms, &credentials).await;
        signed_in.map(drop).map_err(|error| without(user, password, refused("the login", &error)))
    }

    /// The mail goes to whomever the relay takes it for; an error if that is nobody.
    async fn name_recipients(
        &self,
        connection: &mut AsyncSmtpConnection,
        stage: &net::Stage,
    ) -> Result<Option<String>, String> {
        stage.is("naming the recipients");
        let mut refusals = Vec::new();
        for to in &self.to {
            if let Err(error) = connection.command(Rcpt::new(to.clone(), Vec::new())).await {
                let why = refused(&format!("the recipient {to}"), &error);
                if error.status().is_none() {
                    return Err(why);
                }
                refusals.push(why);
            }
        }
        let Some(first) = refusals.first() else { return Ok(None) };
        if refusals.len() == self.to.len() {
            return Err(first.clone());
        }
        let remark = refusals.join("; ");
        Ok(Some(format!("mail relay {} {}", self.relay, shown(&remark, 400))))
    }
}

/// "refused the sender: 550 no such user", or what went wrong on the way there.
fn refused(what: &str, error: &SmtpError) -> String {
    let cause = std::error::Error::source(error);
    match (error.status(), cause) {
        (Some(code), Some(words)) => {
            format!("refused {what}: {}", shown(&format!("{code} {words}"), WORDS))
        }
        (Some(code), None) => format!("refused {what}: {code}"),
        (None, _) if error.is_response() => {
            format!("gave an answer to {what} that isn't SMTP: {}", net::words(error))
        }
        (None, _) => format!("failed at {what}: {}", net::words(error)),
    }
}

/// A relay that repeats what it was told would have the password in a log.
fn without(user: &str, password: &str, why: String) -> String {
    let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let login = BASE64_STANDARD.encode(password);
    let shown_password = shown(password, usize::MAX);
    let told = [password, &shown_password, &plain, &login].iter().any(|secret| why.contains(*secret));
    if told { "refused the login, in words that hold the password".to_owned() } else { why }
}

fn own_name() -> String {
    match ClientId::default() {
        ClientId::Domain(name) => name,
        _ => "localhost".to_owned(),
    }
}

impl AsyncTokioStream for net::Lines<TcpStream> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.carrier().peer_addr()
    }
}

impl AsyncTokioStream for net::Lines<TlsStream<TcpStream>> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.carrier().get_ref().0.peer_addr()
    }
}
