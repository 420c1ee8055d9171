//! What is known about health, written down: a keeld that starts doesn't begin by doubting every server, and a group of
//! servers that is held stays held.
use std::{collections::BTreeMap, fs, io, net::IpAddr, path::PathBuf};

use jiff::Timestamp;
use keel_pool::Verdict;
use keel_store::{AtomicFile, RealFs};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::interfaces::chain;

/// A verdict as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    Unknown,
    Up,
    Drain,
    Down,
}

impl From<Verdict> for Word {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Unknown => Self::Unknown,
            Verdict::Up => Self::Up,
            Verdict::Drain => Self::Drain,
            Verdict::Down => Self::Down,
        }
    }
}

impl From<Word> for Verdict {
    fn from(word: Word) -> Self {
        match word {
            Word::Unknown => Self::Unknown,
            Word::Up => Self::Up,
            Word::Drain => Self::Drain,
            Word::Down => Self::Down,
        }
    }
}

/// A change of a server's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) at: Timestamp,
    pub(crate) from: Word,
    pub(crate) to: Word,
    pub(crate) reason: String,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) service: String,
    pub(crate) server: String,
    pub(crate) address: IpAddr,
    pub(crate) verdict: Word,
    pub(crate) since: Option<Timestamp>,
    pub(crate) reason: String,
    /// What its agents asked for, per cent of its weight.
    #[serde(default)]
    pub(crate) share: Option<u16>,
    pub(crate) history: Vec<Change>,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {
    /// The start of the machine that the verdicts are from. After another one they are history only.
    pub(crate) boot: String,
    pub(crate) servers: Vec<Record>,
    /// The priority group that takes connections, where a service holds it.
    pub(crate) groups: BTreeMap<String, u16>,
}

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    boot: String,
    written: Records,
}

impl File {
    /// Reads what an earlier process wrote. Verdicts from before the machine's last start aren't believed.
    pub(crate) fn open(path: PathBuf) -> (Self, Records) {
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut records = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Records::default(),
            read => read
                .map_err(|error| error.to_string())
                .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
                .unwrap_or_else(|why| {
                    warn!(path = %path.display(), "what was known about servers can't be read: {why}");
                    Records::default()
                }),
        };
        let written = records.clone();
        if records.boot != boot {
            for record in &mut records.servers {
                record.verdict = Word::Unknown;
            }
        }
        (Self { path, boot, written }, records)
    }

    /// Writes what is known now, if that has changed.
    pub(crate) fn save(&mut self, servers: Vec<Record>, groups: &BTreeMap<String, u16>) {
        let records = Records { boot: self.boot.clone(), servers, groups: groups.clone() };
        if records == self.written {
            return;
        }
        let written = serde_json::to_vec(&records).map_err(|error| error.to_string()).and_then(|bytes| {
            AtomicFile::on(&RealFs).write(&self.path, &bytes, 0o600).map_err(|error| chain(&error))
        });
        // Tried again when there is more to write, not every second.
        self.written = records;
        if let Err(error) = written {
            warn!("what is known about servers can't be written down: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_an_earlier_start_of_the_machine_arent_believed_and_groups_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.json");
        let (mut file, nothing) = File::open(path.clone());
        assert_eq!(nothing, Records::default());
        let record = Record {
            service: "web".to_owned(),
            server: "rs1".to_owned(),
            address: [192, 0, 2, 11].into(),
            verdict: Word::Up,
            since: Some(Timestamp::UNIX_EPOCH),
            reason: "HTTP 200".to_owned(),
            share: Some(50),
            history: Vec::new(),
        };
        let groups = BTreeMap::from([("db".to_owned(), 1)]);
        file.save(vec![record.clone()], &groups);
        let (_, read) = File::open(path.clone());
        assert_eq!((read.servers.as_slice(), &read.groups), ([record].as_slice(), &groups));

        file.boot = "another".to_owned();
        file.written = Records::default();
        file.save(read.servers, &groups);
        let (_, read) = File::open(path.clone());
        assert_eq!((read.servers[0].verdict, &read.groups), (Word::Unknown, &groups));

        fs::write(&path, "{").unwrap();
        assert_eq!(File::open(path).1, Records::default(), "a torn file is no reason not to start");
    }
}
