//! Servers given by host name: which names are wanted, what they were last resolved to, when they are looked up next, and
//! the file that remembers the answers across restarts. Asking the name servers is [`crate::lookup`]'s.
pub(crate) mod schedule;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use keel_dataplane::Addresses;
use keel_model::{Cluster, Host, Server, Service};
use keel_store::{AtomicFile, RealFs};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{info, warn};

use self::schedule::Schedule;
use crate::{interfaces::chain, lookup::Found, node::Node};

/// Answers about names that are in no service any more are kept for a roll-back, the newest of them.
const SPARE: usize = 256;
/// An answer that hasn't changed is written down again when the file is older than this.
const REFRESH: SignedDuration = SignedDuration::from_hours(1);

/// Why a name has no address before the first answer.
pub(crate) const NOT_YET: &str = "not looked up yet";

/// A name, and which family its service prefers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) v6: bool,
}

/// One answer of the name servers.
pub(crate) type Answered = (Asked, Result<Found, String>);

/// What a name was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    #[serde(flatten)]
    asked: Asked,
    address: IpAddr,
    /// When the name servers last said so.
    when: Timestamp,
}

/// All names with their last answers.
#[derive(Debug)]
pub(crate) struct Names {
    record: PathBuf,
    answers: BTreeMap<Asked, Answer>,
    /// The same as the packet path's compiler wants it.
    addresses: Addresses,
    /// Why the last look-up of a name failed.
    failures: BTreeMap<Asked, String>,
    /// The packet path doesn't know of all answers yet.
    unapplied: bool,
    /// When the file was last written, if it says what is known.
    written: Option<Timestamp>,
    /// When each name is looked up next.
    pub(crate) schedule: Schedule,
    /// Told when other names are wanted.
    pub(crate) wake: Arc<Notify>,
}

impl Names {
    /// Starts with what an earlier process wrote down.
    pub(crate) fn open(record: PathBuf) -> Self {
        let answers: Vec<Answer> = match fs::read(&record) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes)).unwrap_or_else(
                |why| {
                    warn!(path = %record.display(), "the last addresses of server names can't be read: {why}");
                    Vec::new()
                },
            ),
        };
        let addresses = answers.iter().map(|a| (key(&a.asked), a.address)).collect();
        let answers = answers.into_iter().map(|answer| (answer.asked.clone(), answer)).collect();
        Self {
            record,
            answers,
            addresses,
            failures: BTreeMap::new(),
            unapplied: false,
            written: None,
            schedule: Schedule::default(),
            wake: Arc::default(),
        }
    }

    /// Every answer, for the packet path's compiler.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Those of `wanted` that never had an answer.
    pub(crate) fn unknown(&self, wanted: BTreeSet<Asked>) -> BTreeSet<Asked> {
        wanted.into_iter().filter(|asked| !self.answers.contains_key(asked)).collect()
    }

    /// Whether an answer has changed since [`Self::applied`].
    pub(crate) fn unapplied(&self) -> bool {
        self.unapplied
    }

    /// The packet path has every answer now.
    pub(crate) fn applied(&mut self) {
        self.unapplied = false;
    }

    /// Takes answers of the name servers; a failure keeps the last answer. The time is given by the wall's clock for people,
    /// and by the one that never jumps for the next look-up.
    pub(crate) fn take(&mut self, answered: Vec<Answered>, at: Timestamp, now: Instant) {
        let mut changed = false;
        for (asked, answer) in answered {
            self.schedule.note(&asked, answer.as_ref().ok().map(|found| found.ttl), now);
            match answer {
                Ok(Found { address, .. }) => {
                    self.failures.remove(&asked);
                    if self.addresses.insert(key(&asked), address) != Some(address) {
                        info!(name = asked.name, %address, "server name resolved");
                        changed = true;
                    }
                    self.answers.insert(asked.clone(), Answer { asked, address, when: at });
                }
                Err(why) => {
                    if self.failures.get(&asked) != Some(&why) {
                        warn!(name = asked.name, "looking the server's name up: {why}");
                        self.failures.insert(asked, why);
                    }
                }
            }
        }
        if changed {
            self.written = None;
            self.unapplied = true;
        }
    }

    /// Forgets names nobody has asked for lately, and writes the rest down if the file is not up to date.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<Asked>, now: Timestamp) {
        self.failures.retain(|asked, _| wanted.contains(asked));
        let mut spare: Vec<_> =
            self.answers.values().filter(|answer| !wanted.contains(&answer.asked)).collect();
        spare.sort_by_key(|answer| std::cmp::Reverse(answer.when));
        let surplus: Vec<Asked> = spare.iter().skip(SPARE).map(|answer| answer.asked.clone()).collect();
        for asked in surplus {
            self.answers.remove(&asked);
            self.addresses.remove(&key(&asked));
        }
        if self.written.is_none_or(|then| now.duration_since(then) > REFRESH) {
            self.write_down(now);
        }
    }

    fn write_down(&mut self, now: Timestamp) {
        if self.answers.is_empty() && !self.record.exists() {
            return;
        }
        let answers: Vec<&Answer> = self.answers.values().collect();
        let written =
            serde_json::to_vec_pretty(&answers).map_err(|error| error.to_string()).and_then(|bytes| {
                AtomicFile::on(&RealFs).write(&self.record, &bytes, 0o600).map_err(|error| chain(&error))
            });
        // A full disk is no reason to try again at every look-up.
        self.written = Some(now);
        if let Err(error) = written {
            warn!("the addresses of server names are not kept for the next start: {error}");
        }
    }

    /// What there is to say about a server's name: nothing if it was resolved the last time it was asked for.
    pub(crate) fn trouble(&self, service: &Service, server: &Server) -> Option<Trouble> {
        if let Some(other) = keel_dataplane::same_place(service, server, &self.addresses)
            && let Some(address) = keel_dataplane::address_of(service, server, &self.addresses)
        {
            return Some(Trouble::Taken { address, by: other.name.to_string() });
        }
        let Host::Name(name) = &server.address else { return None };
        let asked = Asked { name: name.clone(), v6: service.address.is_ipv6() };
        let why = self.failures.get(&asked).cloned();
        match self.answers.get(&asked) {
            None => Some(Trouble::Unresolved(why.unwrap_or_else(|| NOT_YET.to_owned()))),
            Some(answer) if keel_dataplane::address_of(service, server, &self.addresses).is_none() => {
                let (has, needs) = if asked.v6 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
                Some(Trouble::Unresolved(format!(
                    "it has only an {has} address, {}, and this service's mode needs an {needs} one",
                    answer.address
                )))
            }
            Some(answer) => {
                why.map(|why| Trouble::Stale { address: answer.address, since: answer.when, why })
            }
        }
    }
}

/// What is the matter with a server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server has no address, for this reason.
    Unresolved(String),
    /// Another server of the service is at that address and port, so this one isn't used.
    Taken { address: IpAddr, by: String },
    /// It has one from an earlier answer, and no newer one for this reason.
    Stale { address: IpAddr, since: Timestamp, why: String },
}

/// The host names in a configuration, with the family wanted.
pub(crate) fn wanted(cluster: &Cluster) -> BTreeSet<Asked> {
    let servers = cluster.services.iter().flat_map(|service| {
        service.servers.iter().map(move |server| (&server.address, service.address.is_ipv6()))
    });
    servers
        .filter_map(|(address, v6)| match address {
            Host::Name(name) => Some(Asked { name: name.clone(), v6 }),
            Host::Ip(_) => None,
        })
        .collect()
}

fn parse(bytes: &[u8]) -> Result<Vec<Answer>, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn key(asked: &Asked) -> (String, bool) {
    (asked.name.clone(), asked.v6)
}

impl Node {
    /// A server's address, as written or as last looked up.
    pub(crate) fn address_of(&self, service: &Service, server: &Server) -> Option<IpAddr> {
        keel_dataplane::address_of(service, server, self.names.addresses())
    }

    /// Every server whose name makes trouble, by the place of service and server in the configuration.
    pub(crate) fn name_troubles(&self) -> Vec<(usize, usize, Trouble)> {
        let services = self.cluster.services.iter().enumerate().filter(|(_, service)| service.enabled);
        services
            .flat_map(|(i, service)| {
                let servers = service.servers.iter().enumerate();
                servers.filter_map(move |(j, server)| Some((i, j, self.names.trouble(service, server)?)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cluster(text: &str) -> Cluster {
        let (cluster, problems) = keel_model::load_cluster(text);
        cluster.unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn asked(name: &str, v6: bool) -> Asked {
        Asked { name: name.to_owned(), v6 }
    }

    fn answer(name: &str, address: &str) -> Answered {
        let address: IpAddr = address.parse().unwrap();
        (asked(name, address.is_ipv6()), found(address))
    }

    fn found(address: IpAddr) -> Result<Found, String> {
        Ok(Found { address, ttl: Duration::from_secs(60) })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const TEXT: &str = r#"
[[service]]
name = "four"
address = "10.0.0.9"
ports = "80"
server = [{ name = "a", address = "rs1.example" }]
[[service]]
name = "six"
address = "fd00::9"
ports = "80"
server = [{ name = "a", address = "rs1.example" }]
"#;

    #[test]
    fn answers_outlive_the_process_and_a_failed_look_up() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("names.json");
        let cluster = cluster(TEXT);
        let mut names = Names::open(record.clone());
        names.take(
            vec![answer("rs1.example", "10.0.0.1"), answer("rs1.example", "fd00::1")],
            at(1),
            Instant::now(),
        );
        assert!(names.unapplied());
        names.applied();
        names.keep(&wanted(&cluster), at(1));

        let mut names = Names::open(record.clone());
        let failed = (asked("rs1.example", false), Err("no answer".to_owned()));
        names.take(vec![failed], at(2), Instant::now());
        assert!(!names.unapplied());
        let (four, six) = (&cluster.services[0], &cluster.services[1]);
        let of =
            |service: &Service| keel_dataplane::address_of(service, &service.servers[0], names.addresses());
        assert_eq!(of(four), Some("10.0.0.1".parse().unwrap()), "each family has its own answer");
        assert_eq!(of(six), Some("fd00::1".parse().unwrap()));
        assert_eq!(
            names.trouble(four, &four.servers[0]),
            Some(Trouble::Stale {
                address: "10.0.0.1".parse().unwrap(),
                since: at(1),
                why: "no answer".to_owned()
            })
        );
        assert_eq!(names.trouble(six, &six.servers[0]), None);
        assert!(names.unknown(wanted(&cluster)).is_empty());
    }

    #[test]
    fn an_answer_of_the_wrong_family_is_none() {
        let cluster = cluster(TEXT);
        let mut names = Names::open("/nowhere/names.json".into());
        names.take(
            vec![(asked("rs1.example", false), found("fd00::1".parse().unwrap()))],
            at(1),
            Instant::now(),
        );
        let four = &cluster.services[0];
        let Some(Trouble::Unresolved(why)) = names.trouble(four, &four.servers[0]) else {
            panic!("no trouble")
        };
        assert!(why.contains("fd00::1") && why.contains("needs an IPv4 one"), "{why}");
        let six = &cluster.services[1];
        assert_eq!(
            names.trouble(six, &six.servers[0]),
            Some(Trouble::Unresolved("not looked up yet".to_owned()))
        );
    }

    #[test]
    fn a_damaged_file_is_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("names.json");
        fs::write(&record, b"[{\"name\": 3").unwrap();
        assert!(Names::open(record).addresses().is_empty());
    }

    #[test]
    fn the_file_is_bounded_and_keeps_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("names.json");
        let mut names = Names::open(record.clone());
        let many = (0..2000).map(|i| answer(&format!("rs{i}.example"), "10.0.0.1"));
        for (second, one) in many.enumerate() {
            names.take(vec![one], at(second as i64), Instant::now());
        }
        let wanted = BTreeSet::from([asked("rs0.example", false)]);
        names.keep(&wanted, at(3000));
        let kept = Names::open(record);
        assert_eq!(kept.addresses().len(), SPARE + 1);
        assert!(kept.unknown(wanted).is_empty(), "the oldest of all is wanted");
        assert!(
            kept.unknown(BTreeSet::from([asked("rs1999.example", false)])).is_empty(),
            "the newest is spare"
        );
    }

    #[test]
    fn an_unchanged_answer_is_written_once_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("names.json");
        let mut names = Names::open(record.clone());
        let wanted = BTreeSet::from([asked("rs1.example", false)]);
        let mut written_at = |second| {
            names.take(vec![answer("rs1.example", "10.0.0.1")], at(second), Instant::now());
            names.keep(&wanted, at(second));
            fs::read_to_string(&record).unwrap()
        };
        let first = written_at(0);
        assert_eq!(written_at(30), first);
        assert_ne!(written_at(3700), first);
    }
}
