//! HTTP/1.1 without IO: heads are ranges in the buffer that they were read into, bodies are told where they end, and what
//! goes to the other side is written anew. Everything between parsing and writing that could be understood in two ways
//! is refused: strictly towards clients (RFC 9112 with no leniency that is optional), a little less towards servers, which
//! are the operator's own. It reads no sockets and knows no services (that is `keel-proxy`).

mod body;
mod chunked;
mod connection;
mod field;
mod limits;
mod refusal;
mod request;
mod response;
mod scan;
mod span;
mod target;
mod write;

pub use body::Body;
pub use chunked::{Chunked, Step, Trailers, chunk_head};
pub use connection::Options;
pub use field::{Field, Known, Marks};
pub use limits::Limits;
pub use refusal::Refusal;
pub use request::{Method, Request};
pub use response::Response;
pub use scan::{Peer, Scan};
pub use span::Span;
pub use target::{Form, Target};
pub use write::{Head, decimal};
