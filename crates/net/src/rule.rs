//! Policy routing: rules that send packets of one source to a table of their own.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use serde::Serialize;

use crate::{NetError, Netlink, OUR_PROTOCOL, Result, route::family};

/// `from <prefix> lookup <table>`, made by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRule {
    /// Packets from these sources; a prefix of length 0 is everybody.
    pub from: IpNet,
    /// Packets to these destinations only, if set. Of the same family as `from`.
    pub to: Option<IpNet>,
    /// The table they are looked up in.
    pub table: u32,
    /// Lower is asked first. The main table is asked at 32766.
    pub priority: u32,
    /// The table's default route doesn't count: what only that would match goes on to the next rule.
    pub without_default: bool,
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from {}", self.priority, self.from)?;
        self.to.map_or(Ok(()), |to| write!(f, " to {to}"))?;
        write!(f, " lookup {}", self.table)?;
        if self.without_default { f.write_str(" suppress_prefixlength 0") } else { Ok(()) }
    }
}

impl PolicyRule {
    /// Packets from `from` are looked up in `table`.
    pub fn new(from: IpNet, table: u32, priority: u32) -> Self {
        Self { from, to: None, table, priority, without_default: false }
    }

    /// The same, but for the table's default route.
    #[must_use]
    pub fn without_default(self) -> Self {
        Self { without_default: true, ..self }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = family(self.from.addr());
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        let add = &mut message.attributes;
        add.push(RuleAttribute::Table(self.table));
        add.push(RuleAttribute::Priority(self.priority));
        add.push(RuleAttribute::Protocol(RouteProtocol::from(OUR_PROTOCOL)));
        if self.without_default {
            add.push(RuleAttribute::SuppressPrefixLen(0));
        }
        if self.from.prefix_len() > 0 {
            message.header.src_len = self.from.prefix_len();
            add.push(RuleAttribute::Source(self.from.network()));
        }
        if let Some(to) = self.to {
            message.header.dst_len = to.prefix_len();
            add.push(RuleAttribute::Destination(to.network()));
        }
        message
    }

    /// `None` for rules that are not ours or not of this shape.
    pub(crate) fn parse(message: &RuleMessage) -> Option<Self> {
        let any: IpAddr = match message.header.family {
            AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        let (mut from, mut to, mut protocol) = (any, None, 0);
        let mut without_default = false;
        let (mut table, mut priority) = (u32::from(message.header.table), 0);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Source(ip) => from = *ip,
                RuleAttribute::Destination(ip) => to = IpNet::new(*ip, message.header.dst_len).ok(),
                RuleAttribute::Table(id) => table = *id,
                RuleAttribute::Priority(number) => priority = *number,
                RuleAttribute::SuppressPrefixLen(0) => without_default = true,
                RuleAttribute::Protocol(number) => protocol = u8::from(*number),
                _ => {}
            }
        }
        let from = IpNet::new(from, message.header.src_len).ok()?;
        (protocol == OUR_PROTOCOL).then_some(Self { from, to, table, priority, without_default })
    }
}

/// Verbs on policy rules.
impl Netlink {
    /// The rules that we made, of both families.
    ///
    /// # Errors
    /// [`NetError::List`].
    pub async fn our_rules(&self) -> Result<Vec<PolicyRule>> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let answers = match self.dump(RouteNetlinkMessage::GetRule(message)).await {
                Ok(answers) => answers,
                // A kernel without this family (ipv6.disable=1) has no rules of it.
                Err(source) if source.is(libc::EAFNOSUPPORT) => continue,
                Err(source) => return Err(NetError::List { what: "policy rules", source }),
            };
            rules.extend(answers.iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRule(message) => PolicyRule::parse(message),
                _ => None,
            }));
        }
        Ok(rules)
    }

    /// Adds a rule; one that is there already is fine.
    ///
    /// # Errors
    /// [`NetError::AddRule`].
    pub async fn add_rule(&self, rule: &PolicyRule) -> Result<()> {
        match self.change(RouteNetlinkMessage::NewRule(rule.message()), NLM_F_CREATE | NLM_F_EXCL).await {
            Err(source) if !source.is(libc::EEXIST) => {
                Err(NetError::AddRule { rule: rule.to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// Removes a rule of ours; one that is not there is fine.
    ///
    /// # Errors
    /// [`NetError::RemoveRule`].
    pub async fn remove_rule(&self, rule: &PolicyRule) -> Result<()> {
        match self.change(RouteNetlinkMessage::DelRule(rule.message()), 0).await {
            Err(source) if !source.is(libc::ENOENT) => {
                Err(NetError::RemoveRule { rule: rule.to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// Removes every rule and every route that we made, and says how many.
    ///
    /// # Errors
    /// The first refusal, after everything else was tried.
    pub async fn remove_all_ours(&self) -> Result<usize> {
        let (rules, routes) = (self.our_rules().await, self.routes().await);
        let (mut removed, mut failed) = (0, None);
        let mut note = |done: Result<()>| match done {
            Ok(()) => removed += 1,
            Err(error) => failed = failed.take().or(Some(error)),
        };
        for rule in rules.as_ref().into_iter().flatten() {
            note(self.remove_rule(rule).await);
        }
        for route in routes.as_ref().into_iter().flatten().filter(|route| route.is_ours()) {
            note(self.remove_route(route).await);
        }
        rules.and(routes)?;
        failed.map_or(Ok(removed), Err)
    }
}
