//! What went wrong, in words for the administrator at three in the morning.
use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a server's answer wasn't good.
#[derive(Debug, Error)]
pub enum Fault {
    /// The network or the server refused.
    #[error("{}", io_words(.doing, .source))]
    Io {
        /// What was going on: "connecting", "waiting for the greeting".
        doing: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// The server closed the connection before its answer was whole.
    #[error("connection closed while {doing}")]
    Closed {
        /// What was going on.
        doing: &'static str,
    },
    /// It said more than any answer needs.
    #[error("more than {limit} bytes while {doing}")]
    TooLong {
        /// What was going on.
        doing: &'static str,
        /// How many would have been too many.
        limit: usize,
    },
    /// Its answer was another one.
    #[error("{0}")]
    Unexpected(String),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nothing is wrong with the server: this node can't ask.
    #[error("cannot check: {0}")]
    Unable(String),
}

impl Fault {
    /// An answer that isn't the expected one.
    pub(crate) fn unexpected(text: impl Into<String>) -> Self {
        Self::Unexpected(text.into())
    }
}

fn io_words(doing: &str, source: &io::Error) -> String {
    use io::ErrorKind as Kind;
    match source.kind() {
        Kind::ConnectionRefused => "connection refused".to_owned(),
        Kind::ConnectionReset => format!("connection reset while {doing}"),
        Kind::HostUnreachable => "no route to the host, or it doesn't answer ARP".to_owned(),
        Kind::NetworkUnreachable => "network unreachable: there is no route".to_owned(),
        Kind::PermissionDenied if source.raw_os_error() == Some(libc::EACCES) => {
            format!("a firewall or a router forbids it (administratively prohibited) while {doing}")
        }
        Kind::UnexpectedEof => format!("connection closed while {doing}"),
        _ => format!("{doing}: {source}"),
    }
}

/// Why a check can't be carried out at all.
#[derive(Debug, Error)]
pub enum ReadyError {
    /// A secret isn't there.
    #[error("there is no secret called `{name}`: write it as {path}, readable by root alone")]
    NoSecret {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A secret can't be used.
    #[error("the secret `{name}` can't be used: {why}")]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// An authority's file isn't there or no certificate.
    #[error("the authority `{name}` can't be used: {why}: put its certificate as PEM into {path}")]
    Authority {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A script isn't there.
    #[error("there is no script called `{name}`: put it into {path} and make it executable")]
    NoScript {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// Something else is in the way.
    #[error("{0}")]
    Other(String),
}
