//! One name server: a question to it, and what it says in an administrator's words. Everything it sends may be a lie or
//! broken; it decides where a name leads, and nothing else.
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType},
    },
};
use keel_model::address_fault;
use tokio::time::timeout;
use tracing::debug;

use crate::names::schedule::AT_ONCE;

/// A name server that hasn't answered a question after this long, to which it is sent up to three times, is silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// Aliases that lead to a name; more are nobody's good will.
const ALIASES: usize = 16;

/// How a name server is to be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// By TCP alone.
    pub(super) over_tcp: bool,
    /// Long answers by UDP are welcome.
    pub(super) edns: bool,
}

/// What a name server knows about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Addresses of the family that was asked for.
    Found(Vec<IpAddr>, Duration),
    /// No address of this family, for this reason.
    Nothing(Nothing),
}

/// That a name server has no address for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nothing {
    pub(super) by: IpAddr,
    pub(super) why: Why,
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Nor any other record.
    NoSuchName,
    /// The name exists.
    NoAddress,
    /// None that a server can have: this one, for this reason.
    Unusable(IpAddr, &'static str),
}

impl std::fmt::Display for Nothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = self.by;
        match self.why {
            Why::NoSuchName => write!(f, "the name server {by} says the name doesn't exist"),
            Why::NoAddress => write!(f, "the name has no address, says the name server {by}"),
            Why::Unusable(address, fault) => {
                write!(
                    f,
                    "the name has no address of use: the name server {by} gives {address}, which is {fault}"
                )
            }
        }
    }
}

/// Why a name server has told nothing about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It doesn't answer.
    Silent(IpAddr),
    /// Anything else, in words.
    Other(String),
}

/// One name server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: IpAddr,
    resolver: TokioResolver,
}

impl Server {
    /// Makes it ready to be asked; nothing is sent yet.
    pub(super) fn new(at: SocketAddr, manner: Manner) -> Result<Self, NetError> {
        let mut server = match manner.over_tcp {
            true => NameServerConfig::tcp(at.ip()),
            false => NameServerConfig::udp_and_tcp(at.ip()),
        };
        server.connections.iter_mut().for_each(|connection| connection.port = at.port());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        // The next try is ours to decide, and so is for how long an answer is kept.
        options.attempts = 0;
        options.cache_size = 0;
        // We have read them ourselves.
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = manner.edns;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.max_active_requests = 2 * AT_ONCE;
        // Both are needed: the chain of aliases says which addresses are this name's, and for how long.
        options.preserve_intermediates = true;
        Ok(Self { address: at.ip(), resolver: builder.build()? })
    }

    /// Asks for the addresses of one family that a full name has.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, Fault> {
        match timeout(PATIENCE, self.resolver.lookup(name.clone(), kind)).await {
            Err(_) => Err(Fault::Silent(self.address)),
            Ok(Ok(answer)) => Ok(self.read(name, answer.answers())),
            Ok(Err(error)) => self.explain(&error),
        }
    }

    fn read(&self, name: &Name, records: &[Record]) -> Answer {
        let (addresses, ttl) = addresses_of(name, records);
        let (usable, faults): (Vec<_>, Vec<_>) = addresses
            .into_iter()
            .map(|address| (address, address_fault(address)))
            .partition(|a| a.1.is_none());
        if !usable.is_empty() {
            return Answer::Found(usable.into_iter().map(|(address, _)| address).collect(), ttl);
        }
        let fault = faults.into_iter().find_map(|(address, fault)| Some(Why::Unusable(address, fault?)));
        self.nothing(fault.unwrap_or(Why::NoAddress))
    }

    fn nothing(&self, why: Why) -> Answer {
        Answer::Nothing(Nothing { by: self.address, why })
    }

    fn explain(&self, error: &NetError) -> Result<Answer, Fault> {
        let at = self.address;
        let fault = match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match response_code {
                ResponseCode::NXDomain => return Ok(self.nothing(Why::NoSuchName)),
                ResponseCode::NoError => return Ok(self.nothing(Why::NoAddress)),
                code => refused(at, *code),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => refused(at, *code),
            NetError::Timeout => return Err(Fault::Silent(at)),
            NetError::Io(error) => format!("the name server {at} can't be asked: {error}"),
            // The text of others may have in it what was received.
            error => {
                debug!(name_server = %at, "{error}");
                format!("the name server {at} sends an answer that can't be used")
            }
        };
        Err(Fault::Other(fault))
    }
}

fn refused(at: IpAddr, code: ResponseCode) -> String {
    match code {
        ResponseCode::Refused => format!("the name server {at} refuses to answer (REFUSED)"),
        ResponseCode::ServFail => format!("the name server {at} says that it can't find out (SERVFAIL)"),
        code => format!("the name server {at} answers with the error {}", u16::from(code)),
    }
}

/// The addresses among the records that belong to the name or to what it is an alias of, and for how long all of that
/// holds.
fn addresses_of(name: &Name, records: &[Record]) -> (Vec<IpAddr>, Duration) {
    let (mut owner, mut ttl) = (name, u32::MAX);
    for _ in 0..ALIASES {
        let alias = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((record.ttl, &target.0)),
            _ => None,
        });
        let Some((lasts, target)) = alias else { break };
        (owner, ttl) = (target, ttl.min(lasts));
    }
    let mut addresses = Vec::new();
    for record in records.iter().filter(|record| record.name == *owner) {
        if let Some(address) = record.data.ip_addr() {
            addresses.push(address);
            ttl = ttl.min(record.ttl);
        }
    }
    (addresses, Duration::from_secs(ttl.into()))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
