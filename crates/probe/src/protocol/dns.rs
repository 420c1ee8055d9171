//! DNS (RFC 1035) with EDNS (RFC 6891), over UDP and TCP.
use std::{net::IpAddr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use keel_model::{DnsCheck, DnsRecord};

use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    line::LIMIT,
    text::{SHOWN, shown},
};

/// The size of answers that fit everywhere without fragments (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// How long until a datagram counts as lost and is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// How many aliases are followed: enough for people, and no work for who wants to make some.
const ALIASES: usize = 16;

/// Bytes of a message's header.
const HEADER: usize = 12;

pub(crate) async fn check(
    question: &Question,
    place: &Place,
    dns: &DnsCheck,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    let asked = asked(dns)?;
    let server = Server { question, place, asker };
    let mut answer = exchange(server, dns, &message(&asked, true), trace).await?;
    let unknown = matches!(answer.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp);
    if unknown && answer.edns.is_none() {
        // It doesn't know EDNS (RFC 6891 7).
        trace.note(|| "asked again without EDNS".to_owned());
        answer = exchange(server, dns, &message(&asked, false), trace).await?;
    }
    judge(&answer, &asked, dns)
}

/// Whom messages go to, and how.
#[derive(Clone, Copy)]
struct Server<'s> {
    question: &'s Question,
    place: &'s Place,
    asker: &'s Asker,
}

/// What is asked: an address's name is asked for by its reverse.
fn asked(dns: &DnsCheck) -> Result<Query, Fault> {
    let mut name = match dns.query.parse::<IpAddr>() {
        Ok(address) if dns.record == DnsRecord::Ptr => Name::from(address),
        _ => Name::from_ascii(&dns.query)
            .map_err(|error| Fault::Unable(format!("`{}` can't be asked for: {error}", dns.query)))?,
    };
    name.set_fqdn(true);
    Ok(Query::query(name, record_type(dns.record)))
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
        DnsRecord::Soa => RecordType::SOA,
        DnsRecord::Txt => RecordType::TXT,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Ptr => RecordType::PTR,
        DnsRecord::Cname => RecordType::CNAME,
    }
}

/// The question under a number of its own.
fn message(asked: &Query, edns: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(asked.clone());
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        message.set_edns(edns);
    }
    message
}

/// Asks over what the check says, and over TCP what doesn't fit into a datagram.
async fn exchange(
    server: Server<'_>,
    dns: &DnsCheck,
    question: &Message,
    trace: &mut Trace,
) -> Result<Message, Fault> {
    let bytes = question.to_vec().map_err(|error| Fault::Unable(format!("writing the question: {error}")))?;
    if !dns.tcp {
        let answer = over_udp(server, &bytes, trace).await?;
        if !is_truncated(&answer) {
            return decode(&answer, question);
        }
        trace.note(|| "the answer is truncated: asked again over TCP".to_owned());
    }
    decode(&over_tcp(server, &bytes, trace).await?, question)
}

/// The first datagram that answers this question. Others are no verdict: anybody may send them.
async fn over_udp(server: Server<'_>, question: &[u8], trace: &mut Trace) -> Result<Vec<u8>, Fault> {
    let datagrams = super::datagrams(server.question, server.place, server.asker, trace).await?;
    let doing = datagrams.waiting("waiting for an answer");
    trace.begin(doing);
    let mut buffer = vec![0; LIMIT];
    loop {
        datagrams.send(doing, question).await?;
        trace.sent(question);
        let again = tokio::time::Instant::now() + AGAIN;
        while let Ok(received) = tokio::time::timeout_at(again, datagrams.recv(doing, &mut buffer)).await {
            let answer = &buffer[..received?];
            trace.received(answer);
            if is_answer(answer, question) {
                return Ok(answer.to_vec());
            }
            trace.begin("waiting for an answer to this question (what came was none)");
        }
    }
}

async fn over_tcp(server: Server<'_>, question: &[u8], trace: &mut Trace) -> Result<Vec<u8>, Fault> {
    let length = u16::try_from(question.len())
        .map_err(|_| Fault::Unable("the question is too long for DNS".to_owned()))?;
    let mut line = super::open(server.question, server.place, server.asker, trace).await?;
    line.begin("waiting for an answer over TCP");
    line.send(&[&length.to_be_bytes(), question].concat()).await?;
    let length = line.exact(2).await?;
    let answer = line.exact(usize::from(u16::from_be_bytes([length[0], length[1]]))).await?;
    if is_answer(&answer, question) {
        line.part(&[]);
        Ok(answer)
    } else {
        Err(Fault::unexpected(format!("answered \"{}\" over TCP, which is no answer", shown(&answer, SHOWN))))
    }
}

/// Whether it is an answer under the number of the question.
fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= HEADER && answer[..2] == question[..2] && answer[2] & 0x80 != 0
}

/// The TC bit: looked at before anything is decoded, for the rest may end anywhere.
fn is_truncated(answer: &[u8]) -> bool {
    answer[2] & 0x02 != 0
}

/// Decodes an answer to this question.
fn decode(answer: &[u8], question: &Message) -> Result<Message, Fault> {
    let broken = |why: String| Fault::unexpected(format!("the answer is broken: {why}"));
    // There is one question, and room is made for as many as it says.
    if u16::from_be_bytes([answer[4], answer[5]]) > 1 {
        return Err(broken("it repeats more than one question".to_owned()));
    }
    let answer =
        Message::from_vec(answer).map_err(|error| broken(shown(error.to_string().as_bytes(), SHOWN)))?;
    let metadata = &answer.metadata;
    if metadata.message_type != MessageType::Response || metadata.op_code != OpCode::Query {
        return Err(broken("it answers no query".to_owned()));
    }
    let same = |asked: &Query, echoed: &Query| {
        asked.name().eq_ignore_root(echoed.name())
            && asked.query_type() == echoed.query_type()
            && asked.query_class() == echoed.query_class()
    };
    match (question.queries.first(), answer.queries.first()) {
        (Some(asked), Some(echoed)) if same(asked, echoed) => Ok(answer),
        // Who understands nothing repeats nothing.
        (_, None) if metadata.response_code != ResponseCode::NoError => Ok(answer),
        _ => Err(Fault::unexpected("answered another question than was asked")),
    }
}

/// Whether the answer is the wanted one.
fn judge(answer: &Message, asked: &Query, dns: &DnsCheck) -> Result<Finding, Fault> {
    let (name, kind) = (asked.name().to_ascii(), asked.query_type());
    let name = name.trim_end_matches('.');
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return bad(format!("NXDOMAIN: {name} does not exist")),
        ResponseCode::ServFail => return bad("SERVFAIL: the server can't answer"),
        ResponseCode::Refused => return bad("REFUSED: the server won't answer us"),
        ResponseCode::FormErr => return bad("FORMERR: the server doesn't understand the question"),
        ResponseCode::NotImp => return bad("NOTIMP: the server doesn't know this kind of question"),
        other => return bad(format!("the server answered {other}, code {}", u16::from(other))),
    }
    let found = wanted(answer, asked);
    let Some(expected) = &dns.expect else {
        if found.is_empty() {
            return bad(format!("no {kind} record for {name}"));
        }
        return Ok(Finding::good(format!("answers {kind} {name}")));
    };
    if found.iter().any(|data| equals(data, expected)) {
        return Ok(Finding::good("answered as expected"));
    }
    let came: Vec<_> = found.iter().take(8).map(|data| text(data)).collect();
    let expected = shown(expected.as_bytes(), SHOWN);
    if came.is_empty() {
        return bad(format!("no {kind} record for {name}, expected {expected}"));
    }
    bad(format!("answered {}, expected {expected}", shown(came.join(", ").as_bytes(), SHOWN)))
}

fn bad(text: impl Into<String>) -> Result<Finding, Fault> {
    Err(Fault::unexpected(text))
}

/// The records of the type asked for, of the name asked for or of one that it is an alias of.
fn wanted<'m>(answer: &'m Message, asked: &Query) -> Vec<&'m RData> {
    let mut names = vec![asked.name()];
    // Aliases come in order (RFC 1034 4.3.2), so one pass is enough.
    for record in &answer.answers {
        if let RData::CNAME(target) = &record.data
            && names.len() < ALIASES
            && owned(record, &names)
        {
            names.push(&target.0);
        }
    }
    answer
        .answers
        .iter()
        .filter(|record| record.record_type() == asked.query_type() && owned(record, &names))
        .map(|record| &record.data)
        .collect()
}

fn owned(record: &Record, names: &[&Name]) -> bool {
    record.dns_class == DNSClass::IN && names.iter().any(|name| name.eq_ignore_root(&record.name))
}

/// A record's data as it is usually written.
fn text(data: &RData) -> String {
    match data {
        RData::TXT(text) => String::from_utf8_lossy(&text.txt_data.concat()).into_owned(),
        RData::MX(mx) => format!("{} {}", mx.preference, plain(&mx.exchange)),
        RData::SRV(srv) => {
            format!("{} {} {} {}", srv.priority, srv.weight, srv.port, plain(&srv.target))
        }
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            plain(&soa.mname),
            plain(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        RData::NS(name) => plain(&name.0),
        RData::CNAME(name) => plain(&name.0),
        RData::PTR(name) => plain(&name.0),
        other => other.to_string(),
    }
}

/// A name without its final dot.
fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    match text.strip_suffix('.') {
        Some("") | None => text,
        Some(bare) => bare.to_owned(),
    }
}

/// Whether the data is what is expected: addresses as addresses, text as text, the rest word by word.
fn equals(data: &RData, expected: &str) -> bool {
    if let Some(address) = data.ip_addr() {
        return expected.trim().parse() == Ok(address);
    }
    if let RData::TXT(text) = data {
        return text.txt_data.concat() == expected.as_bytes();
    }
    let bare = |word: &str| word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
    text(data).split_ascii_whitespace().map(bare).eq(expected.split_ascii_whitespace().map(bare))
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME, MX, PTR, SRV, TXT};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn check(query: &str, record: DnsRecord, expect: Option<&str>) -> DnsCheck {
        DnsCheck { query: query.to_owned(), record, expect: expect.map(str::to_owned), tcp: false }
    }

    /// An answer to the check with these records.
    fn judged(dns: &DnsCheck, records: &[(&str, RData)]) -> Result<Finding, Fault> {
        let asked = asked(dns).unwrap();
        let question = message(&asked, true);
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(asked.clone());
        for (owner, data) in records {
            answer.add_answer(Record::from_rdata(name(owner), 60, data.clone()));
        }
        let answer = decode(&answer.to_vec().unwrap(), &question)?;
        judge(&answer, &asked, dns)
    }

    #[test]
    fn each_type_is_compared_as_it_is_written() {
        let a = RData::A(A::new(192, 0, 2, 7));
        assert!(equals(&a, "192.0.2.7") && !equals(&a, "192.0.2.70"));
        let aaaa = RData::AAAA("2001:db8::1".parse().unwrap());
        assert!(equals(&aaaa, "2001:DB8:0:0::1"));
        let ptr = RData::PTR(PTR(name("Host.example.org.")));
        assert!(equals(&ptr, "host.EXAMPLE.org") && equals(&ptr, "host.example.org."));
        assert!(!equals(&ptr, "host.example"));
        let mx = RData::MX(MX::new(10, name("mail.example.org.")));
        assert!(equals(&mx, "10 mail.example.org") && !equals(&mx, "mail.example.org"));
        let srv = RData::SRV(SRV::new(0, 5, 5060, name("sip.example.org.")));
        assert!(equals(&srv, "0 5 5060 sip.example.org."));
        let txt = RData::TXT(TXT::new(vec!["v=spf1 ".to_owned(), "-all".to_owned()]));
        assert!(equals(&txt, "v=spf1 -all") && !equals(&txt, "V=spf1 -all"));
    }

    #[test]
    fn only_records_of_the_name_count() {
        let dns = check("www.example.org", DnsRecord::A, Some("192.0.2.7"));
        let a = RData::A(A::new(192, 0, 2, 7));
        assert!(judged(&dns, &[("WWW.example.org.", a.clone())]).is_ok());
        let other = judged(&dns, &[("other.example.org.", a.clone())]).unwrap_err().to_string();
        assert_eq!(other, "no A record for www.example.org, expected 192.0.2.7");
        let alias = RData::CNAME(CNAME(name("web.example.net.")));
        assert!(judged(&dns, &[("www.example.org.", alias.clone()), ("web.example.net.", a)]).is_ok());
        assert!(judged(&dns, &[("www.example.org.", alias)]).is_err());
        let b = RData::A(A::new(192, 0, 2, 8));
        let wrong = judged(&dns, &[("www.example.org.", b)]).unwrap_err().to_string();
        assert_eq!(wrong, "answered 192.0.2.8, expected 192.0.2.7");
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse() {
        let reverse = |query| asked(&check(query, DnsRecord::Ptr, None)).unwrap().name().to_ascii();
        assert_eq!(reverse("192.0.2.7"), "7.2.0.192.in-addr.arpa.");
        assert!(reverse("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa."));
        assert_eq!(reverse("_sip._tcp.example.org"), "_sip._tcp.example.org.");
    }

    #[test]
    fn what_came_is_doubted() {
        let dns = check("www.example.org", DnsRecord::A, None);
        let asked = asked(&dns).unwrap();
        let question = message(&asked, true);
        let bytes = question.to_vec().unwrap();
        assert!(!is_answer(&bytes, &bytes), "a question is no answer");
        let mut echo = bytes.clone();
        echo[2] |= 0x80;
        assert!(is_answer(&echo, &bytes) && !is_answer(&echo[..11], &bytes));
        echo[0] ^= 1;
        assert!(!is_answer(&echo, &bytes));
        let mut many = bytes.clone();
        many[2] |= 0x80;
        many[4..6].copy_from_slice(&[0xFF, 0xFF]);
        assert!(decode(&many, &question).unwrap_err().to_string().contains("more than one question"));
        // A name that points to itself.
        let mut loops = bytes.clone();
        loops[2] |= 0x80;
        loops[HEADER..HEADER + 2].copy_from_slice(&[0xC0, HEADER as u8]);
        assert!(decode(&loops, &question).unwrap_err().to_string().contains("broken"));
        let mut other = Message::response(question.metadata.id, OpCode::Query);
        other.add_query(Query::query(name("other.example.org."), RecordType::A));
        let wrong = decode(&other.to_vec().unwrap(), &question).unwrap_err().to_string();
        assert_eq!(wrong, "answered another question than was asked");
    }

    #[test]
    fn no_damage_makes_more_than_a_fault() {
        let dns = check("www.example.org", DnsRecord::Mx, Some("10 mail.example.org"));
        let asked = asked(&dns).unwrap();
        let question = message(&asked, true);
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(asked.clone());
        let alias = RData::CNAME(CNAME(name("web.example.org.")));
        answer.add_answer(Record::from_rdata(name("www.example.org."), 60, alias));
        let mx = RData::MX(MX::new(10, name("mail.example.org.")));
        answer.add_answer(Record::from_rdata(name("web.example.org."), 60, mx));
        let whole = answer.to_vec().unwrap();
        assert!(judge(&decode(&whole, &question).unwrap(), &asked, &dns).is_ok());
        let mut state = 1_u32;
        let mut next = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for _ in 0..20_000 {
            let mut damaged = whole.clone();
            for _ in 0..=next(3) {
                damaged[next(whole.len())] = next(256) as u8;
            }
            damaged.truncate(HEADER + next(whole.len() - HEADER + 1));
            if let Ok(answer) = decode(&damaged, &question) {
                let _ = judge(&answer, &asked, &dns);
            }
        }
    }
}
