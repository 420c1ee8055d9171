//! Asking from a test: a check as it is written in the configuration, against a port of the loopback.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that can't go on ends")]

pub mod certificates;
pub mod liar;
pub mod mysql;
pub mod server;
pub mod speaker;

use std::{collections::HashMap, path::PathBuf};

use keel_model::load_cluster;
use keel_pool::Outcome;
use keel_probe::{Answer, Asker, Files, Place, Question, ReadyError, Step, Trace, ask};

/// What a check may refer to.
#[derive(Default)]
pub struct Kept {
    pub secrets: HashMap<&'static str, String>,
    pub authorities: PathBuf,
    pub scripts: PathBuf,
}

impl Kept {
    pub fn secret(name: &'static str, value: &str) -> Self {
        Self { secrets: HashMap::from([(name, value.to_owned())]), ..Self::default() }
    }

    /// The check of these lines of `[service.health]`.
    pub fn question(&self, health: &str) -> Result<Question, ReadyError> {
        let text = format!(
            "[[service]]\nname = \"web\"\naddress = \"192.0.2.80\"\nports = \"80\"\n[service.health]\n{health}\n\
             [[service.server]]\nname = \"rs1\"\naddress = \"192.0.2.11\"\n"
        );
        let (cluster, problems) = load_cluster(&text);
        let cluster = cluster.unwrap_or_else(|| panic!("{problems:#?}"));
        let files = Files {
            secret: &|name| Ok(self.secrets.get(name).map(|value| value.clone().into_bytes())),
            secrets: PathBuf::from("secrets"),
            authorities: self.authorities.clone(),
            scripts: self.scripts.clone(),
        };
        Question::new(&cluster.services[0].health, &files)
    }

    pub async fn traced(&self, health: &str, port: u16) -> (Answer, Vec<Step>) {
        let question = self.question(health).unwrap();
        let mut trace = Trace::full();
        let answer = ask(&question, &place(port), &Asker::default(), &mut trace).await;
        let steps = trace.into_steps();
        for step in &steps {
            println!("{:>10.3?} {}", step.at, step.text);
        }
        (answer, steps)
    }

    pub async fn asked(&self, health: &str, port: u16) -> Answer {
        self.traced(health, port).await.0
    }

    /// The check finds the server good, and says so in these words.
    pub async fn good(&self, health: &str, port: u16, words: &str) {
        let answer = self.asked(health, port).await;
        assert_eq!(answer.outcome, Some(Outcome::Good), "{health}: {answer:?}");
        assert!(answer.reason.contains(words), "{health}: {answer:?}");
    }

    /// The check finds the server bad, and says so in these words.
    pub async fn bad(&self, health: &str, port: u16, words: &str) {
        let answer = self.asked(health, port).await;
        assert_eq!(answer.outcome, Some(Outcome::Bad), "{health}: {answer:?}");
        assert!(answer.reason.contains(words), "{health}: {answer:?}");
    }
}

/// A port of the loopback.
pub fn place(port: u16) -> Place {
    let server = ([127, 0, 0, 1], port).into();
    let vip = "192.0.2.80".parse().unwrap();
    Place { address: [127, 0, 0, 1].into(), port, vip, vip_port: 80, server, via: None }
}
