//! What the decisions come to: a verdict, or where the packet goes. Everything that decides returns one of these and
//! nothing that decides sends, so that there is one place where packets are rewritten and sent: the stack of 512 bytes
//! holds it, and the verifier walks it once.

/// A verdict (an XDP action in the low bits), or one of the marks below.
pub type Route = u64;

const SERVER: Route = 1 << 32;

/// To the client of the connection in `Scratch::reverse`.
pub const CLIENT: Route = 1 << 33;

/// Nowhere yet: the entry was void, the packet begins anew.
pub const ANEW: Route = 1 << 34;

/// To a server.
#[inline(always)]
pub const fn server(id: u32) -> Route {
    SERVER | id as u64
}

/// The server, if the packet goes to one.
#[inline(always)]
pub const fn as_server(route: Route) -> Option<u32> {
    if route & SERVER != 0 { Some(route as u32) } else { None }
}
