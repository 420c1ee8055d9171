//! What can go wrong: every variant names the operation and the place, the cause hangs off as its source.

use std::{fmt, io, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;

/// `Result` with [`NetError`].
pub type Result<T, E = NetError> = std::result::Result<T, E>;

/// Why the kernel, or the way to it, refused a netlink request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The kernel answered with an error number, and on newer kernels with a sentence.
    #[error("{source}{}", note.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Kernel {
        /// The error number.
        source: io::Error,
        /// The kernel's own explanation (extended acknowledgement), if it gave one.
        note: Option<String>,
    },
    /// No answer in time; the request may or may not have taken effect.
    #[error("the kernel did not answer within {0:?}")]
    Timeout(Duration),
    /// The connection's task is gone, which happens when its runtime shut down.
    #[error("the netlink connection is closed")]
    Closed,
    /// An answer this crate cannot make sense of.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl Cause {
    /// The kernel's error number, if that was the cause.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error(),
            Self::Timeout(_) | Self::Closed | Self::Unexpected(_) => None,
        }
    }

    pub(crate) fn is(&self, errno: i32) -> bool {
        self.errno() == Some(errno)
    }
}

/// The connected subnets that were considered for an address, for an error message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates(pub Vec<(String, IpNet)>);

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no interface that is up has an address of this family");
        }
        f.write_str("connected subnets are ")?;
        for (i, (interface, net)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} on {interface}", net.trunc())?;
        }
        Ok(())
    }
}

/// Everything this crate can fail at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each variant's message is its documentation, its fields are the words in it"
)]
pub enum NetError {
    #[error("opening a netlink socket")]
    Connect { source: io::Error },
    #[error("listing {what}")]
    List { what: &'static str, source: Cause },
    #[error("there is no interface {interface}")]
    NoSuchInterface { interface: String },
    #[error("looking up interface {interface}")]
    FindInterface { interface: String, source: Cause },
    #[error("{action} interface {interface}")]
    ChangeInterface { action: String, interface: String, source: Cause },
    #[error("adding {address} to {interface}")]
    AddAddress { address: IpNet, interface: String, source: Cause },
    #[error("removing {address} from {interface}")]
    RemoveAddress { address: IpNet, interface: String, source: Cause },
    #[error(
        "no interface is in the subnet of {address}: {candidates}; add an address of that subnet to an interface first"
    )]
    NoInterfaceFor { address: IpAddr, candidates: Candidates },
    #[error("adding route {route}")]
    AddRoute { route: String, source: Cause },
    #[error("removing route {route}")]
    RemoveRoute { route: String, source: Cause },
    #[error("finding the route to {to}")]
    FindRoute { to: IpAddr, source: Cause },
    #[error("there is no route to {to}: {why}; add a route or a default gateway")]
    NoRoute { to: IpAddr, why: String },
    #[error("adding rule {rule}")]
    AddRule { rule: String, source: Cause },
    #[error("removing rule {rule}")]
    RemoveRule { rule: String, source: Cause },
    #[error("asking for the neighbour {address} on interface {interface}")]
    Neighbour { address: IpAddr, interface: u32, source: Cause },
    #[error("{address} did not answer {} on interface {interface} within {waited:?}", if address.is_ipv4() { "ARP" } else { "neighbour discovery" })]
    Unresolved { address: IpAddr, interface: u32, waited: Duration },
    #[error("interface {interface} has no Ethernet address, so it cannot announce {address}")]
    NotEthernet { interface: String, address: IpAddr },
    #[error("opening a packet socket on interface {interface}")]
    OpenFrameSocket { interface: u32, source: io::Error },
    #[error("announcing {address} on interface {interface}")]
    Announce { address: IpAddr, interface: u32, source: io::Error },
    #[error("reading {}", path.display())]
    ReadSysctl { path: PathBuf, source: io::Error },
    #[error("setting {} to {value}{}", path.display(), read_only_hint(source))]
    WriteSysctl { path: PathBuf, value: String, source: io::Error },
    #[error("`{tool}` is not installed: apt-get install {package}")]
    ToolMissing { tool: &'static str, package: &'static str },
    #[error("running `{tool}`")]
    RunTool { tool: &'static str, source: io::Error },
    #[error("nftables refused {doing}: {message}")]
    Nft { doing: &'static str, message: String },
    #[error("{doing} on interface {interface}")]
    Ethtool { doing: &'static str, interface: String, source: io::Error },
    #[error("{doing} on BPF map `{map}`")]
    BpfMap { doing: &'static str, map: String, source: io::Error },
    #[error("BPF map `{map}`: {what} has {got} bytes, the map's has {want}")]
    BpfSize { map: String, what: &'static str, got: usize, want: usize },
    #[error("{missing}; {fix}")]
    Requirement { missing: String, fix: String },
}

fn read_only_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EROFS) => " (this /proc is mounted read-only: `mount -o remount,rw /proc/sys`)",
        Some(libc::EACCES | libc::EPERM) => " (needs root in this network namespace)",
        Some(libc::ENOENT) => " (this kernel or interface has no such setting)",
        _ => "",
    }
}
