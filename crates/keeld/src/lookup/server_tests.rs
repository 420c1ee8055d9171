//! What is made of what a name server says, whatever that is.
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, TXT};

use super::*;
use crate::lookup::name_server::{Mood, NameServer};

const MANNER: Manner = Manner { over_tcp: false, edns: false };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn a(owner: &str, ttl: u32, address: &str) -> Record {
    record(owner, ttl, RData::A(A(address.parse().unwrap())))
}

fn alias(owner: &str, ttl: u32, of: &str) -> Record {
    record(owner, ttl, RData::CNAME(CNAME(name(of))))
}

fn read(records: &[Record]) -> Answer {
    let server = Server::new((ip("192.0.2.1"), 53).into(), MANNER).unwrap();
    server.read(&name("rs1.example."), records)
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Nothing(nothing) => nothing.to_string(),
        found => panic!("{found:?}"),
    }
}

#[test]
fn the_shortest_ttl_on_the_way_counts() {
    let found = |records: &[Record]| match read(records) {
        Answer::Found(addresses, ttl) => (addresses, ttl.as_secs()),
        nothing => panic!("{nothing:?}"),
    };
    let both = [a("rs1.example.", 60, "10.0.0.1"), a("RS1.Example.", 30, "10.0.0.2")];
    assert_eq!(found(&both), (vec![ip("10.0.0.1"), ip("10.0.0.2")], 30));
    let chain = [
        a("c.example.", 300, "10.0.0.3"),
        alias("b.example.", 20, "c.example."),
        alias("rs1.example.", 900, "b.example."),
    ];
    assert_eq!(found(&chain), (vec![ip("10.0.0.3")], 20), "in whatever order");
}

#[test]
fn records_of_other_names_are_nothing() {
    let others = [
        a("rs2.example.", 60, "10.0.0.2"),
        alias("rs2.example.", 60, "rs3.example."),
        record("rs1.example.", 60, RData::TXT(TXT::new(vec!["10.0.0.1".to_owned()]))),
    ];
    assert_eq!(said(&read(&others)), "the name has no address, says the name server 192.0.2.1");
    let loops = [alias("rs1.example.", 60, "b.example."), alias("b.example.", 60, "rs1.example.")];
    assert!(said(&read(&loops)).starts_with("the name has no address"));
}

#[test]
fn an_address_that_no_server_can_have_is_passed_over() {
    let mixed = [
        a("rs1.example.", 60, "0.0.0.0"),
        a("rs1.example.", 60, "10.0.0.1"),
        a("rs1.example.", 60, "224.0.0.1"),
    ];
    assert!(matches!(read(&mixed), Answer::Found(found, _) if found == [ip("10.0.0.1")]));
    let mapped = record("rs1.example.", 60, RData::AAAA(AAAA("::ffff:10.0.0.1".parse().unwrap())));
    for (record, fault) in
        [(a("rs1.example.", 60, "0.0.0.0"), "0.0.0.0, which is the unspecified"), (mapped, "IPv6 dress")]
    {
        let why = said(&read(&[record]));
        assert!(why.starts_with("the name has no address of use: the name server 192.0.2.1 gives "), "{why}");
        assert!(why.contains(fault), "{why}");
    }
}

fn running() -> (NameServer, Server) {
    let running = NameServer::at("127.0.0.1:0");
    let server = Server::new(running.address(), MANNER).unwrap();
    (running, server)
}

async fn ask(server: &Server, text: &str) -> Result<Answer, Fault> {
    server.ask(&name(text), RecordType::A).await
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_fetched_by_tcp() {
    let (running, server) = running();
    let addresses: Vec<String> = (1..=200).map(|last| format!("10.0.0.{last}")).collect();
    running.set("many.example", 60, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = ask(&server, "many.example.").await;
    assert!(matches!(&answer, Ok(Answer::Found(found, _)) if found.len() == 200), "{answer:?}");
    assert_eq!(running.asked_by_tcp(), 1);
}

#[tokio::test]
async fn nothing_is_kept_that_was_said_before() {
    let (running, server) = running();
    running.set("rs1.example", 3600, &["10.0.0.1"]);
    let first = ask(&server, "rs1.example.").await;
    assert_eq!(first, Ok(Answer::Found(vec![ip("10.0.0.1")], Duration::from_secs(3600))));
    running.set("rs1.example", 3600, &["10.0.0.2"]);
    let second = ask(&server, "rs1.example.").await;
    assert!(matches!(second, Ok(Answer::Found(found, _)) if found == [ip("10.0.0.2")]));
    running.forget("rs1.example");
    assert_eq!(
        said(&ask(&server, "rs1.example.").await.unwrap()),
        "the name server 127.0.0.1 says the name doesn't exist"
    );
    running.set("rs1.example", 60, &["fd00::1"]);
    assert!(said(&ask(&server, "rs1.example.").await.unwrap()).starts_with("the name has no address"));
}

#[tokio::test]
async fn the_ttl_of_an_alias_arrives() {
    let (running, server) = running();
    running.alias("rs1.example", 5, "a.example");
    running.set("a.example", 300, &["10.0.0.1"]);
    let answer = ask(&server, "rs1.example.").await;
    assert_eq!(answer, Ok(Answer::Found(vec![ip("10.0.0.1")], Duration::from_secs(5))));
}

#[tokio::test]
async fn failures_are_said_in_words() {
    let (running, server) = running();
    for (mood, words) in [
        (Mood::Refusing(ResponseCode::Refused), "the name server 127.0.0.1 refuses to answer (REFUSED)"),
        (
            Mood::Refusing(ResponseCode::ServFail),
            "the name server 127.0.0.1 says that it can't find out (SERVFAIL)",
        ),
        (Mood::Refusing(ResponseCode::NotAuth), "the name server 127.0.0.1 answers with the error 9"),
        (Mood::Raving, "the name server 127.0.0.1 sends an answer that can't be used"),
    ] {
        running.be(mood);
        assert_eq!(ask(&server, "rs1.example.").await, Err(Fault::Other(words.to_owned())), "{mood:?}");
    }
    running.be(Mood::Silent);
    assert_eq!(ask(&server, "rs1.example.").await, Err(Fault::Silent(ip("127.0.0.1"))));
    assert!(running.asked_for("rs1.example") > 5, "a lost datagram is sent again");
    running.be(Mood::Helpful);
    running.set("rs1.example", 60, &["10.0.0.1"]);
    assert!(matches!(ask(&server, "rs1.example.").await, Ok(Answer::Found(..))), "it has recovered");
}
