//! The protocols, one file each. Every function asks one question and returns what it found; time is limited around it.

mod agent;
mod command;
mod connect;
mod dialogue;
mod dns;
mod ftp;
mod grpc;
mod handshake;
mod http;
mod ldap;
mod mail;
mod mysql;
mod pgsql;
mod ping;
mod radius;
mod rdp;
mod redis;
mod script;
mod sip;
mod wanted;

use keel_model::{Check, Through};

pub use self::ping::Pinger;
use crate::{
    Asker, Fault, Place, Question, Trace,
    ask::Finding,
    datagrams::Datagrams,
    line::{self, Line},
    tcp::Opening,
    through,
};

/// Carries a check out.
pub(crate) async fn check(
    question: &Question,
    place: &Place,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    // Each in a box of its own: a check that takes little doesn't take as much memory as the largest.
    match &question.check {
        Check::Off => Ok(Finding::good("not checked")),
        Check::Ping => Box::pin(ping::check(place, asker, trace)).await,
        Check::Connect => connect::check(open(question, place, asker, trace).await?),
        Check::Tcp(tcp) => {
            Box::pin(dialogue::tcp(open(question, place, asker, trace).await?, question, tcp)).await
        }
        Check::Udp(udp) => Box::pin(dialogue::udp(question, place, udp, asker, trace)).await,
        Check::Tls(tls) => {
            Box::pin(handshake::check(open(question, place, asker, trace).await?, question, tls)).await
        }
        Check::Http(http) => Box::pin(http::check(question, place, http, false, asker, trace)).await,
        Check::Https(http) => Box::pin(http::check(question, place, http, true, asker, trace)).await,
        Check::Dns(dns) => Box::pin(dns::check(question, place, dns, asker, trace)).await,
        Check::Smtp(smtp) => {
            Box::pin(mail::smtp(open(question, place, asker, trace).await?, question, smtp)).await
        }
        Check::Imap(login) => {
            Box::pin(mail::imap(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Pop3(login) => {
            Box::pin(mail::pop3(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Nntp(login) => {
            Box::pin(mail::nntp(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Ftp(login) => {
            Box::pin(ftp::check(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Ldap(ldap) => {
            Box::pin(ldap::check(open(question, place, asker, trace).await?, question, ldap)).await
        }
        Check::Mysql(login) => {
            Box::pin(mysql::check(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Pgsql(login) => {
            Box::pin(pgsql::check(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Redis(login) => {
            Box::pin(redis::check(open(question, place, asker, trace).await?, question, login)).await
        }
        Check::Radius(radius) => Box::pin(radius::check(question, place, radius, asker, trace)).await,
        Check::Sip(sip) => Box::pin(sip::check(question, place, sip, asker, trace)).await,
        Check::Rdp(rdp) => Box::pin(rdp::check(open(question, place, asker, trace).await?, rdp)).await,
        Check::Grpc(grpc) => Box::pin(grpc::check(question, place, grpc, asker, trace)).await,
        Check::Script(script) => Box::pin(script::check(question, place, script, asker, trace)).await,
        Check::Agent(agent) => Box::pin(agent::check(place, agent, trace)).await,
    }
}

/// Opens the connection of a check: to the server, or to the virtual address at the server.
async fn open<'t>(
    question: &Question,
    place: &Place,
    asker: &Asker,
    trace: &'t mut Trace,
) -> Result<Line<'t>, Fault> {
    match question.through {
        Through::Server => line::connect(place.socket(), opening(&question.check), trace).await,
        Through::Vip => Box::pin(through::connect(place, &asker.packets, trace)).await,
    }
}

/// Opens the pair of ports of a check by datagrams, in the same way.
async fn datagrams(
    question: &Question,
    place: &Place,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Datagrams, Fault> {
    match question.through {
        Through::Server => Datagrams::connect(place.socket()).await,
        Through::Vip => through::Datagrams::open(place, &asker.packets, trace)
            .map(|ours| Datagrams::Through(Box::new(ours))),
    }
}

fn opening(check: &Check) -> Opening {
    match check {
        Check::Connect
        | Check::Tls(_)
        | Check::Dns(_)
        | Check::Sip(_)
        | Check::Http(_)
        | Check::Https(_)
        | Check::Grpc(_)
        | Check::Ldap(_)
        | Check::Pgsql(_)
        | Check::Redis(_)
        | Check::Rdp(_) => Opening::Ours,
        // Servers greet, or nobody knows: a script of the administrator's.
        _ => Opening::Theirs,
    }
}
