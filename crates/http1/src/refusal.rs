//! Why a message isn't passed on.

/// What is wrong with a message, by the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// RFC 9112 §2.2: a line ends with CR LF. A lone LF is read as a line's end by some and not by others.
    #[error("a line ends with LF alone")]
    BareLf,
    /// RFC 9112 §2.2: one empty line before the request line may be there.
    #[error("empty lines before the head")]
    EmptyLines,
    /// RFC 9112 §3: method, target and version, a space between them.
    #[error("malformed request line")]
    RequestLine,
    /// RFC 9112 §4.
    #[error("malformed status line")]
    StatusLine,
    /// RFC 9112 §2.3: this is for HTTP/1.0 and HTTP/1.1.
    #[error("not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// RFC 9112 §3.2: origin form, absolute form of http or https without user information, or `*` with OPTIONS.
    #[error("malformed request target")]
    Target,
    /// RFC 9110 §4.1: the target is longer than allowed here.
    #[error("the request target is too long")]
    TargetTooLong,
    /// RFC 9110 §9.3.6: whoever balances servers opens no tunnels to others.
    #[error("CONNECT is not for this server")]
    Connect,
    /// RFC 9112 §5: a token, a colon with nothing before it; RFC 9112 §5.2: no folded lines.
    #[error("malformed field name, or a folded line")]
    FieldName,
    /// RFC 9110 §5.5: no control characters.
    #[error("malformed field value")]
    FieldValue,
    /// RFC 9110 §5.4: more bytes or fields than allowed here.
    #[error("the head is too large")]
    HeadTooLarge,
    /// RFC 9112 §3.2: exactly one `Host` in HTTP/1.1, at most one in HTTP/1.0.
    #[error("not exactly one Host")]
    HostCount,
    /// RFC 9110 §7.2: name or address and perhaps a port.
    #[error("malformed Host")]
    Host,
    /// RFC 9112 §3.2.2: target and `Host` name different hosts.
    #[error("the target's host isn't the one in Host")]
    HostMismatch,
    /// RFC 9112 §6.3: both lengths, which is what smuggling begins with.
    #[error("both Content-Length and Transfer-Encoding")]
    BothLengths,
    /// RFC 9110 §8.6: one number, digits only.
    #[error("malformed Content-Length")]
    ContentLength,
    /// RFC 9112 §6.1: `chunked` is the only transfer coding here, named once, and in HTTP/1.1.
    #[error("a Transfer-Encoding other than chunked")]
    TransferEncoding,
    /// A field's name that some servers read as one of framing or routing.
    #[error("a field name that servers may read as another")]
    Ambiguous,
    /// RFC 9110 §10.1.1: `100-continue` is the only expectation.
    #[error("an expectation that is unknown")]
    Expect,
    /// RFC 9112 §7.1: size in hexadecimal digits.
    #[error("malformed chunk size")]
    ChunkSize,
    /// RFC 9112 §7.1.1: text without control characters, not endless.
    #[error("malformed or endless chunk extension")]
    ChunkExtension,
    /// RFC 9112 §7.1: CR LF after a chunk.
    #[error("a chunk doesn't end where it says")]
    ChunkEnd,
}

impl Refusal {
    /// The status that a client is told (RFC 9110 §15.5); a server's fault is 502 whatever it is.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::Expect => 417,
            Self::Version => 505,
            Self::Connect => 405,
            Self::BareLf
            | Self::EmptyLines
            | Self::RequestLine
            | Self::StatusLine
            | Self::Target
            | Self::FieldName
            | Self::FieldValue
            | Self::HostCount
            | Self::Host
            | Self::HostMismatch
            | Self::BothLengths
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Ambiguous
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd => 400,
        }
    }
}

impl From<httparse::Error> for Refusal {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::FieldName,
            httparse::Error::HeaderValue | httparse::Error::NewLine => Self::FieldValue,
            httparse::Error::Status => Self::StatusLine,
            httparse::Error::Token => Self::RequestLine,
            httparse::Error::TooManyHeaders => Self::HeadTooLarge,
            httparse::Error::Version => Self::Version,
        }
    }
}
