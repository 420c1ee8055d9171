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
    line::{self, Line},
    through,
};

/// Carries a check out.
pub(crate) async fn check(
    question: &Question,
    place: &Place,
    asker: &Asker,
    trace: &mut Trace,
) -> Result<Finding, Fault> {
    match &question.check {
        Check::Off => Ok(Finding::good("not checked")),
        Check::Ping => ping::check(place, asker, trace).await,
        Check::Connect => connect::check(open(question, place, asker, trace).await?),
        Check::Tcp(tcp) => dialogue::tcp(open(question, place, asker, trace).await?, question, tcp).await,
        Check::Udp(udp) => dialogue::udp(question, place, udp, trace).await,
        Check::Tls(check) => {
            handshake::check(open(question, place, asker, trace).await?, question, check).await
        }
        Check::Http(http) => http::check(question, place, http, false, asker, trace).await,
        Check::Https(http) => http::check(question, place, http, true, asker, trace).await,
        Check::Dns(dns) => dns::check(place, dns, trace).await,
        Check::Smtp(smtp) => mail::smtp(open(question, place, asker, trace).await?, question, smtp).await,
        Check::Imap(login) => mail::imap(open(question, place, asker, trace).await?, question, login).await,
        Check::Pop3(login) => mail::pop3(open(question, place, asker, trace).await?, question, login).await,
        Check::Nntp(login) => mail::nntp(open(question, place, asker, trace).await?, question, login).await,
        Check::Ftp(login) => ftp::check(open(question, place, asker, trace).await?, question, login).await,
        Check::Ldap(ldap) => ldap::check(open(question, place, asker, trace).await?, question, ldap).await,
        Check::Mysql(login) => {
            mysql::check(open(question, place, asker, trace).await?, question, login).await
        }
        Check::Pgsql(login) => {
            pgsql::check(open(question, place, asker, trace).await?, question, login).await
        }
        Check::Redis(login) => {
            redis::check(open(question, place, asker, trace).await?, question, login).await
        }
        Check::Radius(radius) => radius::check(question, place, radius, trace).await,
        Check::Sip(sip) => sip::check(place, sip, trace).await,
        Check::Rdp(rdp) => rdp::check(open(question, place, asker, trace).await?, rdp).await,
        Check::Grpc(grpc) => grpc::check(question, place, grpc, asker, trace).await,
        Check::Script(script) => script::check(question, place, script, asker, trace).await,
        Check::Agent(agent) => agent::check(place, agent, trace).await,
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
        Through::Server => line::connect(place.socket(), trace).await,
        Through::Vip => through::connect(place, &asker.packets, trace).await,
    }
}
