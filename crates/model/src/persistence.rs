//! Keeping a client on the server it already has.

use std::time::Duration;

use serde::Serialize;

use crate::word::words;

words! {
    /// What a client is known by.
    pub enum PersistenceBy("kind of persistence") {
        /// Its address, or the network it is in.
        Source = "source",
        /// A cookie of ours (layer 7, HTTP).
        Cookie = "cookie",
        /// A cookie of ours, and its address while it has none (layer 7, HTTP).
        CookieOrSource = "cookie-or-source",
        /// A cookie the application sets (layer 7, HTTP).
        AppCookie = "app-cookie",
        /// The address in `X-Forwarded-For` (layer 7, HTTP).
        ForwardedFor = "forwarded-for",
        /// The user or the broker's token in a remote-desktop request (layer 7, TCP).
        RdpCookie = "rdp-cookie",
        /// The TLS session (layer 7, TCP).
        TlsSession = "tls-session",
    }
}

impl PersistenceBy {
    /// Whether a cookie is involved.
    pub fn uses_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::CookieOrSource | Self::AppCookie)
    }
}

/// How long and by what a client stays on its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// What a client is known by.
    pub by: PersistenceBy,
    /// How long it is remembered after its last connection.
    #[serde(with = "crate::duration::required")]
    pub timeout: Duration,
    /// IPv4 clients in the same network of this size share a server; 32 means each for itself.
    pub prefix4: u8,
    /// The same for IPv6; 128 means each for itself.
    pub prefix6: u8,
    /// How many clients are remembered to begin with (layer 7; grows as needed).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_size: Option<u32>,
    /// The cookie, where one is involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
}

impl Persistence {
    /// How long layer 4 remembers a client.
    pub const TIMEOUT4: Duration = Duration::from_secs(300);
    /// How long layer 7 remembers a client.
    pub const TIMEOUT7: Duration = Duration::from_secs(30 * 60);
    /// How many clients layer 7 remembers to begin with.
    pub const TABLE_SIZE: u32 = 10_240;

    /// By the client's whole address.
    pub fn by_source(timeout: Duration) -> Self {
        Self { by: PersistenceBy::Source, timeout, prefix4: 32, prefix6: 128, table_size: None, cookie: None }
    }
}

/// A cookie that names the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// A client that was away longer gets a new server.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub max_idle: Option<Duration>,
    /// After this the client gets a new server even if it never was away.
    #[serde(with = "crate::duration::optional", skip_serializing_if = "Option::is_none")]
    pub max_life: Option<Duration>,
}

impl Cookie {
    /// The name of our cookie, unless told otherwise.
    pub const NAME: &'static str = "SERVERID";
}
