//! `keel floating`: the addresses that this node holds and announces.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use keel_api::{FloatingIp, Light, NewFloatingIp};

use super::Outcome;
use super::service::unless_absent;
use crate::Context;
use crate::change::{Change, render_committed};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// List, add and remove floating addresses.
///
/// Each virtual address of an enabled service is one by itself. Others are added by hand: the
/// gateway that NAT servers send their answers to, for example.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Floating {
    /// List all floating addresses, and where they are
    List,
    Add(Add),
    Rm(Rm),
}

/// Add a floating address
///
/// For example, the default gateway of NAT servers:
///   keel floating add 10.0.0.1/24
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Add {
    /// The address; without a prefix length it stands by itself (/32, /128)
    #[arg(value_name = "ADDRESS[/PREFIX]")]
    address: Prefixed,

    /// The interface it goes onto; without this the one in whose network it is
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    #[command(flatten)]
    change: Change,
}

/// Remove a floating address that was added by hand
///
/// One that comes with a service goes with it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rm {
    /// The address; the prefix length may be left off
    #[arg(value_name = "ADDRESS[/PREFIX]")]
    address: Prefixed,

    /// It is all right if there is none
    #[arg(long)]
    if_exists: bool,

    #[command(flatten)]
    change: Change,
}

/// An address with its prefix length, which is all of it when none was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefixed(IpNet);

impl FromStr for Prefixed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(whole).map(Self).ok_or_else(|| {
            format!(
                "\"{text}\" is not an address; write 10.0.0.1/24, 10.0.0.1, 2001:db8::1/64 or 2001:db8::1"
            )
        })
    }
}

impl Floating {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self {
            Self::List => {
                let all = context.client.floating_ips().await?;
                context.out.answer(&all, |all, style| list(all, style))
            }
            Self::Add(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let new = NewFloatingIp { address: self.address.0, interface: self.interface };
        let committed = context.client.add_floating_ip(&new, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}

impl Rm {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let address = self.address.0.addr().to_string();
        let answer = context.client.remove_floating_ip(&address, &intent).await;
        let committed = unless_absent(context, answer, self.if_exists).await?;
        context.out.answer(&committed, render_committed)
    }
}

/// One line for each address.
pub fn list(all: &[FloatingIp], style: &Style) -> String {
    if all.is_empty() {
        return "There are no floating addresses yet. Each service brings its own; add others with: keel floating add\n"
            .to_owned();
    }
    let mut table = Table::new(vec![
        Column::text("ADDRESS"),
        Column::text("HERE"),
        Column::text("INTERFACE"),
        Column::name("FOR", 12),
    ]);
    for floating in all {
        let (light, word) = if floating.held { (Light::Green, "held") } else { (Light::Yellow, "not held") };
        let reason = match floating.services.is_empty() {
            true => "(added by hand)".to_owned(),
            false => floating.services.join(", "),
        };
        table.row(vec![
            floating.address.clone().into(),
            Cell::painted(format!("{} {word}", style.icon(light)), Paint::Light(light)),
            floating.interface.clone().unwrap_or_else(|| "none".to_owned()).into(),
            reason.into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_length_may_be_left_off() {
        let read = |text: &str| text.parse::<Prefixed>().map(|address| address.0.to_string());
        assert_eq!(read("10.0.0.1/24"), Ok("10.0.0.1/24".to_owned()));
        assert_eq!(read("10.0.0.1"), Ok("10.0.0.1/32".to_owned()));
        assert_eq!(read("2001:db8::1"), Ok("2001:db8::1/128".to_owned()));
        for wrong in ["10.0.0.1/33", "10.0.0", "gateway", "10.0.0.1:80"] {
            assert!(read(wrong).unwrap_err().contains("write 10.0.0.1/24"), "{wrong}");
        }
    }
}
