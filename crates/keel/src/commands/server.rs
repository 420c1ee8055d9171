//! `keel server`: add, set, remove; online, drain, halt.

use clap::{Args, Subcommand};
use keel_api::{NewServer, ServerAction};

use super::Outcome;
use super::service::{nothing_to_set, unless_absent};
use super::settings::{ServerSettings, put_target};
use crate::Context;
use crate::address::Target;
use crate::change::{Change, render_committed};

/// Add, change and remove servers; take them out and bring them back.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Server {
    Add(Add),
    Set(Set),
    Rm(Rm),
    /// Bring a server back in
    Online(Action),
    /// Give a server no new work and let what runs finish
    Drain(Action),
    /// Take a server out now; its connections end
    Halt(Action),
}

/// Add a server to a service
#[derive(Debug, Clone, Args)]
pub(crate) struct Add {
    /// The service
    service: String,

    /// Its name, unique within the service
    name: String,

    /// Its address or host name; a port only in NAT mode
    #[arg(value_name = "ADDRESS[:PORT]")]
    address: Target,

    #[command(flatten)]
    settings: ServerSettings,

    #[command(flatten)]
    change: Change,
}

/// Change settings of a server: its weight, its limits, its address
#[derive(Debug, Clone, Args)]
pub(crate) struct Set {
    /// The service
    service: String,

    /// The server
    server: String,

    /// Move it to another address
    #[arg(long, value_name = "ADDRESS[:PORT]", help_heading = "Settings")]
    address: Option<Target>,

    #[command(flatten)]
    settings: ServerSettings,

    #[command(flatten)]
    change: Change,
}

/// Remove a server from a service
///
/// To let its connections finish first, drain it and remove it later.
#[derive(Debug, Clone, Args)]
pub(crate) struct Rm {
    /// The service
    service: String,

    /// The server
    server: String,

    /// It is all right if there is none
    #[arg(long)]
    if_exists: bool,

    #[command(flatten)]
    change: Change,
}

/// The server an action is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct Action {
    /// The service
    service: String,

    /// The server
    server: String,

    #[command(flatten)]
    change: Change,
}

impl Server {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self {
            Self::Add(command) => command.run(context).await,
            Self::Set(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Online(command) => command.run(context, ServerAction::Online).await,
            Self::Drain(command) => command.run(context, ServerAction::Drain).await,
            Self::Halt(command) => command.run(context, ServerAction::Halt).await,
        }
    }
}

impl Add {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let mut fields = self.settings.into_fields();
        put_target(&mut fields, self.address);
        let new = NewServer { name: self.name, fields };
        let committed = context.client.add_server(&self.service, &new, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}

impl Set {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let mut fields = self.settings.into_fields();
        if let Some(target) = self.address {
            put_target(&mut fields, target);
        }
        if fields.is_empty() {
            return Err(nothing_to_set("server"));
        }
        let committed = context.client.set_server(&self.service, &self.server, &fields, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}

impl Rm {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let answer = context.client.remove_server(&self.service, &self.server, &intent).await;
        let committed = unless_absent(context, answer, self.if_exists).await?;
        context.out.answer(&committed, render_committed)
    }
}

impl Action {
    async fn run(self, context: &mut Context<'_>, action: ServerAction) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let committed = context.client.act_on_server(&self.service, &self.server, action, &intent).await?;
        let next = match action {
            ServerAction::Drain => {
                format!(
                    "See its connections finish: keel connections --service {} --server {}\n",
                    self.service, self.server
                )
            }
            _ => String::new(),
        };
        context.out.answer(&committed, |committed, style| render_committed(committed, style) + &next)
    }
}
