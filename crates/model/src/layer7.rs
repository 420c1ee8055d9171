//! What a service needs when the proxy answers the client and opens its own connection to the server.

use std::time::Duration;

use serde::Serialize;

use crate::name::CertificateName;
use crate::rule::Rule;
use crate::word::words;

words! {
    /// How far the proxy looks into the stream.
    pub enum Mode7("mode") {
        /// Requests and responses are understood.
        Http = "http",
        /// Bytes are passed on.
        Tcp = "tcp",
    }
}

words! {
    /// Which server gets the next connection or request, at layer 7.
    pub enum Scheduler7("scheduler") {
        /// Each in turn.
        Rr = "rr",
        /// Each in turn, as often as its weight says.
        Wrr = "wrr",
        /// The fewest connections.
        Lc = "lc",
        /// The fewest connections for its weight.
        Wlc = "wlc",
        /// The shortest expected delay.
        Sed = "sed",
        /// An idle server first, else the shortest expected delay.
        Nq = "nq",
        /// By the client's address.
        Sh = "sh",
        /// By the destination address.
        Dh = "dh",
        /// By a consistent hash of the client's address.
        Maglev = "maglev",
        /// The first server with room.
        First = "first",
        /// By a hash of the request's path (HTTP mode).
        Uri = "uri",
        /// By a hash of a request header (HTTP mode).
        Header = "header",
        /// The shortest time to the first byte.
        LeastTime = "least-time",
    }
}

words! {
    /// How the client's address is told to a server ahead of the stream.
    pub enum ProxyVersion("PROXY protocol version") {
        /// The line of text.
        V1 = "v1",
        /// The binary form.
        V2 = "v2",
    }
}

words! {
    /// The oldest TLS version that is spoken.
    pub enum TlsVersion("TLS version") {
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

impl Scheduler7 {
    /// Whether it needs to understand requests.
    pub fn needs_http(self) -> bool {
        matches!(self, Self::Uri | Self::Header)
    }
}

/// The layer-7 side of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer7 {
    /// HTTP or plain bytes.
    pub mode: Mode7,
    /// Who gets a new connection or request.
    pub scheduler: Scheduler7,
    /// The header that `scheduler = "header"` hashes.
    pub scheduler_header: Option<String>,
    /// Client connections at most; more wait in the listening queue.
    pub max_connections: u32,
    /// How long the proxy waits for what.
    pub timeouts: Layer7Timeouts,
    /// TLS towards clients; none means clear text.
    pub tls: Option<ClientTls>,
    /// TLS towards servers; none means clear text.
    pub server_tls: Option<ServerTls>,
    /// Connections to servers come from the client's address (TProxy).
    pub transparent: bool,
    /// Clients (another proxy) send a PROXY protocol header first.
    pub accept_proxy: bool,
    /// Servers get a PROXY protocol header first.
    pub send_proxy: Option<ProxyVersion>,
    /// The client's address is added to `X-Forwarded-For` (HTTP mode).
    pub forwarded_for: bool,
    /// HTTP/2 is offered to clients (HTTP mode).
    pub http2: bool,
    /// Clear-text requests are answered with a redirect to `https` (HTTP mode).
    pub redirect_to_https: bool,
    /// How long browsers are told to insist on `https` (HTTP mode).
    pub hsts: Option<Duration>,
    /// Responses are compressed when the client can read that (HTTP mode).
    pub compress: bool,
    /// Content rules, the first that matches decides (HTTP mode).
    pub rules: Vec<Rule>,
}

impl Layer7 {
    /// Client connections at most, unless told otherwise.
    pub const MAX_CONNECTIONS: u32 = 40_000;

    /// The defaults of a mode.
    pub fn new(mode: Mode7) -> Self {
        let http = mode == Mode7::Http;
        Self {
            mode,
            scheduler: Scheduler7::Wlc,
            scheduler_header: None,
            max_connections: Self::MAX_CONNECTIONS,
            timeouts: Layer7Timeouts::default(),
            tls: None,
            server_tls: None,
            transparent: false,
            accept_proxy: false,
            send_proxy: None,
            forwarded_for: http,
            http2: http,
            redirect_to_https: false,
            hsts: None,
            compress: false,
            rules: Vec::new(),
        }
    }
}

/// How long the proxy waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer7Timeouts {
    /// For a server to accept a connection.
    #[serde(with = "crate::duration::required")]
    pub connect: Duration,
    /// For a whole request head.
    #[serde(with = "crate::duration::required")]
    pub request: Duration,
    /// For the client to send or take anything.
    #[serde(with = "crate::duration::required")]
    pub client: Duration,
    /// For the server to send or take anything.
    #[serde(with = "crate::duration::required")]
    pub server: Duration,
    /// For the next request on a connection that is kept.
    #[serde(with = "crate::duration::required")]
    pub keep_alive: Duration,
    /// For anything on an upgraded connection (WebSocket) or a stream.
    #[serde(with = "crate::duration::required")]
    pub tunnel: Duration,
}

impl Default for Layer7Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(10),
            client: Duration::from_secs(12 * 3600),
            server: Duration::from_secs(12 * 3600),
            keep_alive: Duration::from_secs(60),
            tunnel: Duration::from_secs(12 * 3600),
        }
    }
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientTls {
    /// Certificates by name, chosen by the name the client asks for; the first is the default.
    pub certificates: Vec<CertificateName>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// TLS towards servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerTls {
    /// Whether the server's certificate must be trusted and fit its name.
    pub verify: bool,
    /// The name asked for (SNI) and checked; none means the server's host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}
