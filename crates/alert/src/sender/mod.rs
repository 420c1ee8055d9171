//! The ways in which a report leaves: what each needs, and what goes wrong with it.
mod mail;
mod net;
mod syslog;
mod webhook;

use std::{fmt, path::PathBuf};

use keel_model::Alerts;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use thiserror::Error;

use crate::{Report, text::shown};

/// Reads a secret by its name: none if there is none, and why it can't be used otherwise.
pub type ReadSecret<'f> = dyn Fn(&str) -> Result<Option<Vec<u8>>, String> + 'f;

/// Where what the configuration refers to is kept.
pub struct Files<'f> {
    /// Reads secrets.
    pub secret: &'f ReadSecret<'f>,
    /// The folder of secrets, for messages.
    pub secrets: PathBuf,
    /// Authorities that are trusted besides the system's.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl Files<'_> {
    fn read(&self, name: Option<&str>) -> Result<Option<Secret>, String> {
        let Some(name) = name else { return Ok(None) };
        match (self.secret)(name) {
            Ok(Some(mut bytes)) => {
                // An editor ends the file's only line; the secret has no end of line.
                while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    bytes.pop();
                }
                let empty = || format!("the secret `{name}` is empty");
                if bytes.is_empty() { Err(empty()) } else { Ok(Some(Secret(bytes))) }
            }
            Ok(None) => Err(format!(
                "there is no secret called `{name}`: write it as {}, readable by root alone",
                self.secrets.join(name).display()
            )),
            Err(why) => Err(format!("the secret `{name}` can't be used: {}", shown(&why, 200))),
        }
    }
}

/// A password: shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A way of telling people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A mail to everybody in `email_to`.
    Email,
    /// JSON to a URL.
    Webhook,
    /// One message for each event, RFC 5424 over UDP.
    Syslog,
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
        })
    }
}

/// Why a report didn't leave. One line, and no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The mail relay can't be reached, or doesn't take the mail.
    #[error("mail relay {relay} {why}")]
    Mail {
        /// Host and port.
        relay: String,
        /// What it did: "refused the sender: 550 …".
        why: String,
    },
    /// The webhook can't be reached, or doesn't take the report.
    #[error("webhook {origin} {why}")]
    Webhook {
        /// Scheme, host and port alone: many a webhook's path is a password.
        origin: String,
        /// What it did: "answered HTTP 500".
        why: String,
    },
    /// The syslog server can't be reached.
    #[error("syslog server {server} {why}")]
    Syslog {
        /// Host and port.
        server: String,
        /// Why: "can't be reached: connection refused".
        why: String,
    },
    /// This node can't send: a secret or a setting is missing.
    #[error("{0}")]
    Unable(String),
}

/// What came of a report that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// What wasn't as it should be nevertheless: a recipient was refused, but not all.
    pub(crate) remark: Option<String>,
}

impl Sent {
    pub(crate) const WELL: Self = Self { remark: None };
}

/// One channel's settings, secrets included. Equal settings need no new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sender {
    Mail(mail::Mail),
    Webhook(webhook::Webhook),
    Syslog(syslog::Syslog),
    /// What is configured can't be used: why.
    Unable(String),
}

impl Sender {
    pub(crate) async fn send(&self, report: &Report) -> Result<Sent, SendError> {
        match self {
            Self::Mail(mail) => mail.send(report).await,
            Self::Webhook(webhook) => webhook.send(report).await,
            Self::Syslog(syslog) => syslog.send(report).await,
            Self::Unable(why) => Err(SendError::Unable(why.clone())),
        }
    }
}

/// A channel that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) kind: ChannelKind,
    /// Where it leads, for people.
    pub(crate) to: String,
    pub(crate) sender: Sender,
}

/// Every channel that is configured, ready or with why it isn't.
pub(crate) fn setups(alerts: &Alerts, files: &Files<'_>) -> Vec<Setup> {
    let mut found = Vec::new();
    if !alerts.email_to.is_empty() {
        let to = alerts.email_to.join(", ");
        let sender = mail::Mail::new(alerts, files).map_or_else(Sender::Unable, Sender::Mail);
        found.push(Setup { kind: ChannelKind::Email, to, sender });
    }
    if let Some(url) = &alerts.webhook {
        let (to, sender) = match webhook::Webhook::new(url, alerts.webhook_secret.as_deref(), files) {
            Ok(webhook) => (webhook.origin(), Sender::Webhook(webhook)),
            Err(why) => ("webhook".to_owned(), Sender::Unable(why)),
        };
        found.push(Setup { kind: ChannelKind::Webhook, to, sender });
    }
    if let Some(server) = &alerts.syslog {
        let sender = Sender::Syslog(syslog::Syslog::new(server));
        found.push(Setup { kind: ChannelKind::Syslog, to: server.clone(), sender });
    }
    found
}
