//! What the machine says about names: `/etc/hosts` and `/etc/resolv.conf`, and whether they have changed.
use std::{collections::HashMap, fs, io, net::IpAddr, os::unix::fs::MetadataExt, path::Path};

/// glibc asks no more of them either, so whoever lists a fourth doesn't expect it to be asked.
const SERVERS: usize = 3;
/// The most that glibc takes for `ndots`.
const DOTS: usize = 15;

/// Names that are known without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Reads the text of `/etc/hosts`, passing over what isn't an address with names.
    pub(super) fn parse(text: &str) -> Self {
        let mut hosts = HashMap::<String, Vec<IpAddr>>::new();
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse) else { continue };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                hosts.entry(name).or_default().push(address);
            }
        }
        Self(hosts)
    }

    /// The addresses of a name in lower case; none if it isn't listed.
    pub(super) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// `/etc/resolv.conf`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// Asked in this order.
    pub(super) servers: Vec<IpAddr>,
    /// Name servers that can't be asked, as written.
    pub(super) unusable: Vec<String>,
    /// The domains short names are completed with.
    pub(super) search: Vec<String>,
    /// A name with fewer dots is short.
    pub(super) ndots: usize,
    /// Ask by TCP only.
    pub(super) over_tcp: bool,
    /// Say that answers by UDP may be long.
    pub(super) edns: bool,
}

impl ResolvConf {
    /// Reads the file's text by the rules of resolv.conf(5). Without a list of domains to search, the one that this host
    /// is in is searched.
    pub(super) fn parse(text: &str, this_host: &str) -> Self {
        let own_domain = this_host.split_once('.').map(|(_, domain)| domain.to_owned());
        let mut conf = Self {
            servers: Vec::new(),
            unusable: Vec::new(),
            search: own_domain.into_iter().collect(),
            ndots: 1,
            over_tcp: false,
            edns: false,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.add_server(words.next().unwrap_or_default()),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| conf.set(option)),
                _ => {}
            }
        }
        conf.search.iter_mut().for_each(|domain| *domain = domain.trim_matches('.').to_ascii_lowercase());
        conf.search.retain(|domain| !domain.is_empty());
        conf
    }

    fn add_server(&mut self, text: &str) {
        match text.parse() {
            Ok(address) if self.servers.len() < SERVERS => self.servers.push(address),
            Ok(_) => {}
            // A link-local one with its interface, or nonsense.
            Err(_) => self.unusable.push(text.to_owned()),
        }
    }

    fn set(&mut self, option: &str) {
        match option.split_once(':') {
            None if option == "use-vc" => self.over_tcp = true,
            None if option == "edns0" => self.edns = true,
            Some(("ndots", dots)) => self.ndots = dots.parse().unwrap_or(self.ndots).min(DOTS),
            _ => {}
        }
    }
}

/// The names to ask for, in their order, each ending with a dot: a name with dots is meant as it stands and completed only
/// if it doesn't exist; a short one is completed first.
pub(super) fn candidates(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    let as_it_stands = format!("{name}.");
    let completed = search.iter().map(|domain| format!("{name}.{domain}."));
    if name.matches('.').count() >= ndots {
        std::iter::once(as_it_stands).chain(completed).collect()
    } else {
        completed.chain([as_it_stands]).collect()
    }
}

/// The addresses of this machine itself have fixed names, which nobody is asked for (RFC 6761 §6.3).
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// What tells that a file is another one or was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The file's now; none if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Reads a file whose bytes need not be UTF-8: what isn't is in a comment, or names nothing.
pub(super) fn read(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_read_in_whatever_state_they_are() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 gone\n10.0.0.1\tRS1.Example. rs1 # the first\n\
                    fe80::1%eth0 router\nnonsense rs9\n10.0.0.2\nfd00::1 rs1\n";
        let hosts = Hosts::parse(text);
        assert_eq!(hosts.addresses("rs1.example"), [ip("10.0.0.1")]);
        assert_eq!(hosts.addresses("rs1"), [ip("10.0.0.1"), ip("fd00::1")]);
        for unknown in ["gone", "router", "rs9", "", "the", "first"] {
            assert!(hosts.addresses(unknown).is_empty(), "{unknown}");
        }
    }

    #[test]
    fn resolv_conf_is_read_like_the_system_does() {
        let text = "; made by dhclient\n# nameserver 10.0.0.9\nnameserver 10.0.0.1 # here\nnameserver fd00::1\n\
                    nameserver fe80::1%eth0\ndomain first.example\nsearch Corp.Example. lab.example .\n\
                    options timeout:30 ndots:2 rotate\noptions edns0 use-vc\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let conf = ResolvConf::parse(text, "lb1.elsewhere.example");
        assert_eq!(conf.servers, [ip("10.0.0.1"), ip("fd00::1"), ip("10.0.0.2")]);
        assert_eq!(conf.unusable, ["fe80::1%eth0"]);
        assert_eq!(conf.search, ["corp.example", "lab.example"]);
        assert_eq!((conf.ndots, conf.over_tcp, conf.edns), (2, true, true));
    }

    #[test]
    fn without_a_list_the_domain_of_this_host_is_searched() {
        assert_eq!(ResolvConf::parse("", "lb1.corp.example").search, ["corp.example"]);
        assert!(ResolvConf::parse("", "lb1").search.is_empty());
        assert_eq!(ResolvConf::parse("domain lab.example", "lb1.corp.example").search, ["lab.example"]);
        assert!(ResolvConf::parse("search .", "lb1.corp.example").search.is_empty());
    }

    #[test]
    fn broken_lines_of_resolv_conf_do_no_harm() {
        let conf = ResolvConf::parse("nameserver\noptions ndots:x ndots:99\nsearch\n\u{fffd}\n", "lb1");
        assert_eq!((conf.servers.len(), conf.ndots), (0, DOTS));
        assert_eq!(conf.unusable, [""]);
    }

    #[test]
    fn short_names_are_completed_first_and_others_last() {
        let search = ["corp.example".to_owned(), "lab.example".to_owned()];
        assert_eq!(candidates("rs1", &search, 1), ["rs1.corp.example.", "rs1.lab.example.", "rs1."]);
        assert_eq!(
            candidates("rs1.dc2", &search, 1),
            ["rs1.dc2.", "rs1.dc2.corp.example.", "rs1.dc2.lab.example."]
        );
        assert_eq!(candidates("rs1.dc2", &search, 2)[2], "rs1.dc2.");
        assert_eq!(candidates("rs1", &[], 1), ["rs1."]);
    }

    #[test]
    fn a_change_of_a_file_is_seen_however_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        assert_eq!(Stamp::of(&path), None);
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        let first = Stamp::of(&path);
        assert_eq!(Stamp::of(&path), first);
        fs::write(&path, "nameserver 10.0.0.10\n").unwrap();
        let second = Stamp::of(&path);
        assert_ne!(second, first);
        let other = folder.path().join("other");
        fs::write(&other, "nameserver 10.0.0.11\n").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(Stamp::of(&path), second);
    }
}
