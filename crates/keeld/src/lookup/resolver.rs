//! Resolves names as this machine is set up to: `/etc/hosts` first, then the name servers of node.toml or of
//! `/etc/resolv.conf`, read again whenever a file has changed.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_resolver::proto::rr::{Name, RecordType};
use keel_model::{Dns, address_fault};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    Found,
    server::{self, Answer, Fault, Manner, Nothing, Server, Why},
    silence,
    system::{self, Hosts, ResolvConf, Stamp},
};
use crate::{interfaces::chain, names::Asked};

/// Where name servers listen.
const PORT: u16 = 53;
/// A look-up that takes longer has failed, whatever it was still to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a name server is waited for before the next one is asked too. The first answer counts.
const HEAD_START: Duration = Duration::from_millis(500);
/// What needs no name server holds until a file changes.
const ALWAYS: Duration = Duration::MAX;

/// Where the machine says how names are resolved.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) hosts: PathBuf,
    pub(crate) resolv_conf: PathBuf,
}

impl Files {
    /// The system's own.
    pub(crate) fn of_the_system() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into() }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [Stamp::of(&self.hosts), Stamp::of(&self.resolv_conf)]
    }

    fn read(&self) -> Texts {
        let read = |path| system::read(path).map_err(|error| error.to_string());
        Texts { hosts: read(&self.hosts), resolv_conf: read(&self.resolv_conf) }
    }
}

/// What the files say, or why they can't be read.
#[derive(Debug, PartialEq, Eq)]
struct Texts {
    hosts: Result<String, String>,
    resolv_conf: Result<String, String>,
}

/// Resolves names, and knows whom to ask.
#[derive(Debug)]
pub(crate) struct Resolver {
    files: Files,
    /// node.toml's; what is missing there is taken from the system.
    given: Dns,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    stamps: [Option<Stamp>; 2],
    texts: Texts,
    setup: Arc<Setup>,
    generation: u64,
}

impl Resolver {
    /// Reads the files.
    pub(crate) fn new(files: Files, given: Dns) -> Self {
        let (stamps, texts) = (files.stamps(), files.read());
        let setup = Arc::new(Setup::new(&texts, &files, &given));
        Self { files, given, current: Mutex::new(Current { stamps, texts, setup, generation: 0 }) }
    }

    /// Reads the files again if they were written to. The number is another one whenever they say something else: then every
    /// earlier answer is in doubt.
    pub(crate) fn refresh(&self) -> u64 {
        let stamps = self.files.stamps();
        let mut current = self.current();
        if current.stamps != stamps {
            current.stamps = stamps;
            let texts = self.files.read();
            // Some DHCP clients write the same text again at every renewal.
            if current.texts != texts {
                info!("/etc/hosts or /etc/resolv.conf has changed; names are looked up anew");
                current.setup = Arc::new(Setup::new(&texts, &self.files, &self.given));
                current.texts = texts;
                current.generation += 1;
            }
        }
        current.generation
    }

    /// Looks a name up, preferring the family of its service.
    pub(crate) async fn look_up(&self, asked: &Asked) -> Result<Found, String> {
        let setup = self.current().setup.clone();
        timeout(PATIENCE, setup.look_up(asked)).await.unwrap_or_else(|_| Err(silence(PATIENCE)))
    }

    /// What an administrator can do to ask the same name servers.
    pub(crate) fn remedy(&self, name: &str) -> String {
        match self.given.servers.first() {
            Some(server) => {
                format!("`host {name} {server}` asks the name server that node.toml has under [dns]")
            }
            None => format!("`getent ahosts {name}` asks the same name servers (/etc/resolv.conf)"),
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom to ask, read once.
#[derive(Debug)]
struct Setup {
    hosts: Hosts,
    /// Never empty; or why there is none.
    servers: Result<Vec<Server>, String>,
    search: Vec<String>,
    ndots: usize,
}

impl Setup {
    fn new(texts: &Texts, files: &Files, given: &Dns) -> Self {
        let hosts = texts.hosts.as_deref().map(Hosts::parse).unwrap_or_default();
        let this_host = nix::unistd::gethostname().unwrap_or_default();
        let text = texts.resolv_conf.as_deref();
        let conf = ResolvConf::parse(text.unwrap_or_default(), &this_host.to_string_lossy());
        let manner = Manner { over_tcp: conf.over_tcp, edns: conf.edns };
        let servers = match (given.servers.is_empty(), text) {
            (false, _) => make_ready(&given.servers, manner),
            (true, Ok(_)) if conf.servers.is_empty() => Err(none_in(&files.resolv_conf, &conf.unusable)),
            (true, Ok(_)) => make_ready(&conf.servers, manner),
            (true, Err(error)) => Err(format!(
                "there is no name server to ask: {} can't be read ({error}), and node.toml has none under [dns]",
                files.resolv_conf.display()
            )),
        };
        if let Err(why) = &servers {
            warn!("{why}");
        }
        let search = if given.search.is_empty() { conf.search } else { given.search.clone() };
        Self { hosts, servers, search, ndots: conf.ndots }
    }

    async fn look_up(&self, asked: &Asked) -> Result<Found, String> {
        if let Some(address) = choose(&self.known(&asked.name), asked.v6) {
            return Ok(Found { address, ttl: ALWAYS });
        }
        let servers = self.servers.as_ref().map_err(Clone::clone)?;
        let mut nothing = Vec::new();
        for candidate in system::candidates(&asked.name, &self.search, self.ndots) {
            // Too long together with the domain.
            let Ok(name) = Name::from_ascii(&candidate) else { continue };
            // A name server that fails says nothing about the name: were the next candidate taken, a server could move to
            // where another name leads, and back.
            match ask_for_both(servers, &name, asked.v6).await? {
                Answer::Found(addresses, ttl) => {
                    let address = choose(&addresses, asked.v6).ok_or("the name has no address")?;
                    return Ok(Found { address, ttl });
                }
                Answer::Nothing(found) => nothing.push((candidate, found)),
            }
        }
        Err(all_for_nothing(&asked.name, nothing))
    }

    /// The addresses of a name that no name server is asked for.
    fn known(&self, name: &str) -> Vec<IpAddr> {
        match self.hosts.addresses(name) {
            [] if system::is_localhost(name) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            // Lists of hosts that are to be blocked write 0.0.0.0.
            listed => listed.iter().copied().filter(|ip| address_fault(*ip).is_none()).collect(),
        }
    }
}

fn make_ready(servers: &[IpAddr], manner: Manner) -> Result<Vec<Server>, String> {
    let ready: Result<_, _> =
        servers.iter().map(|address| Server::new((*address, PORT).into(), manner)).collect();
    ready.map_err(|error| format!("the name servers can't be asked: {}", chain(&error)))
}

fn none_in(path: &Path, unusable: &[String]) -> String {
    let path = path.display();
    match unusable {
        [] => {
            format!("there is no name server to ask: {path} lists none, and node.toml has none under [dns]")
        }
        unusable => format!(
            "there is no name server to ask: {path} lists only {}, and neither link-local addresses nor names are taken; \
             write others under [dns] of node.toml",
            unusable.join(", ")
        ),
    }
}

/// One of several addresses: of the preferred family if there is any, and the lowest, so that name servers that turn
/// their answers around don't move the server at every look-up.
fn choose(addresses: &[IpAddr], v6: bool) -> Option<IpAddr> {
    addresses.iter().copied().min_by_key(|address| (address.is_ipv6() != v6, *address))
}

/// Asks for the preferred family, and for the other one only if a name server says that there is no such address: one
/// that fails just now must not move a server from one family to the other.
async fn ask_for_both(servers: &[Server], name: &Name, v6: bool) -> Result<Answer, String> {
    let kinds = if v6 { [RecordType::AAAA, RecordType::A] } else { [RecordType::A, RecordType::AAAA] };
    let first = ask(servers, name, kinds[0]).await?;
    match &first {
        Answer::Found(..) | Answer::Nothing(Nothing { why: Why::NoSuchName, .. }) => Ok(first),
        Answer::Nothing(nothing) => match ask(servers, name, kinds[1]).await? {
            // An address that can't be used tells more than the lack of one.
            Answer::Nothing(_) if matches!(nothing.why, Why::Unusable(..)) => Ok(first),
            second => Ok(second),
        },
    }
}

/// Asks one name server after the other, the next one as soon as one fails or takes long.
async fn ask(servers: &[Server], name: &Name, kind: RecordType) -> Result<Answer, String> {
    let mut left = servers.iter();
    let mut under_way = JoinSet::new();
    let mut faults = Vec::new();
    loop {
        if let Some(server) = left.next() {
            let (server, name) = (server.clone(), name.clone());
            under_way.spawn(async move { server.ask(&name, kind).await });
        }
        let ended = tokio::select! {
            ended = under_way.join_next() => ended,
            () = sleep(HEAD_START), if left.len() > 0 => continue,
        };
        match ended {
            Some(Ok(Ok(answer))) => return Ok(answer),
            Some(Ok(Err(fault))) => faults.push(fault),
            // It panicked.
            Some(Err(error)) => faults.push(Fault::Other(format!("asking failed: {error}"))),
            None => return Err(in_words(&faults)),
        }
    }
}

/// Why no name server has told anything.
fn in_words(faults: &[Fault]) -> String {
    let silent: Vec<String> = faults
        .iter()
        .filter_map(|fault| match fault {
            Fault::Silent(address) => Some(address.to_string()),
            Fault::Other(_) => None,
        })
        .collect();
    let mut said = Vec::new();
    if let [first, others @ ..] = silent.as_slice() {
        let them = if others.is_empty() {
            format!("server {first}")
        } else {
            format!("servers {}", silent.join(", "))
        };
        said.push(format!("no answer from the name {them} within {:?}", server::PATIENCE));
    }
    said.extend(faults.iter().filter_map(|fault| match fault {
        Fault::Silent(_) => None,
        Fault::Other(text) => Some(text.clone()),
    }));
    said.join("; ")
}

/// Why there is no address, from what was said about the name as it stands, and what else was asked for.
fn all_for_nothing(name: &str, nothing: Vec<(String, Nothing)>) -> String {
    let (this, others): (Vec<_>, Vec<_>) =
        nothing.into_iter().partition(|(candidate, _)| candidate.strip_suffix('.') == Some(name));
    let others: Vec<&str> = others.iter().map(|(candidate, _)| candidate.trim_end_matches('.')).collect();
    let why =
        this.first().map_or_else(|| "the name is too long".to_owned(), |(_, nothing)| nothing.to_string());
    match others.as_slice() {
        [] => why,
        others => format!("{why} (nor is there {})", others.join(", ")),
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
