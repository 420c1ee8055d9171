//! `keel service`: list, show, add, set, remove.

mod render;

use clap::{Args, Subcommand};
use keel_api::{ClientError, Committed, Fields, Kind, NewServer, NewService};

use super::Outcome;
use super::settings::{ServiceSettings, put_target};
use crate::Context;
use crate::address::NamedTarget;
use crate::change::{Change, render_committed};
use crate::failure::Failure;

pub use render::{list, show};

/// List, show, add, change and remove services.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Service {
    /// List all services, one line each
    List,
    /// Show everything about a service and its servers
    Show {
        /// The service
        service: String,
    },
    Add(Add),
    Set(Set),
    Rm(Rm),
    /// Let the lowest priority group that is up take over again (failback = "manual")
    Failback {
        /// The service
        service: String,
    },
}

/// Add a service; its address and ports are needed
///
/// For example:
///   keel service add web --address 192.0.2.80 --ports 80 --server a=10.0.0.11
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Add {
    /// Its name
    name: String,

    #[command(flatten)]
    settings: ServiceSettings,

    /// A server to begin with: NAME=ADDRESS or NAME=ADDRESS:PORT; repeat for more
    #[arg(long = "server", value_name = "NAME=ADDRESS[:PORT]", help_heading = "Settings")]
    servers: Vec<NamedTarget>,

    #[command(flatten)]
    change: Change,
}

/// Change settings of a service; connections stay
#[derive(Debug, Clone, Args)]
pub(crate) struct Set {
    /// The service
    service: String,

    #[command(flatten)]
    settings: ServiceSettings,

    #[command(flatten)]
    change: Change,
}

/// Remove a service and its servers
#[derive(Debug, Clone, Args)]
pub(crate) struct Rm {
    /// The service
    service: String,

    /// It is all right if there is none
    #[arg(long)]
    if_exists: bool,

    #[command(flatten)]
    change: Change,
}

impl Service {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        match self {
            Self::List => {
                let services = context.client.services().await?;
                context.out.answer(&services, |services, style| list(services, style))
            }
            Self::Failback { service } => {
                let found = context.client.fail_back(&service).await?;
                context.out.answer(&found, |found, style| super::health::show(found, style))
            }
            Self::Show { service } => {
                let service = context.client.service(&service).await?;
                context.out.answer(&service, show)
            }
            Self::Add(command) => command.run(context).await,
            Self::Set(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
        }
    }
}

impl Add {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let servers = self.servers.into_iter().map(new_server).collect();
        let new = NewService { name: self.name, fields: self.settings.into_fields(), servers };
        let committed = context.client.add_service(&new, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}

fn new_server(named: NamedTarget) -> NewServer {
    let mut fields = Fields::new();
    put_target(&mut fields, named.target);
    NewServer { name: named.name, fields }
}

impl Set {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let fields = self.settings.into_fields();
        if fields.is_empty() {
            return Err(nothing_to_set("service"));
        }
        let committed = context.client.set_service(&self.service, &fields, &intent).await?;
        context.out.answer(&committed, render_committed)
    }
}

pub(crate) fn nothing_to_set(what: &str) -> Failure {
    Failure::Usage(format!("no setting was given; `keel {what} set --help` lists them"))
}

impl Rm {
    async fn run(self, context: &mut Context<'_>) -> Outcome {
        let intent = self.change.intent(&context.typed);
        let answer = context.client.remove_service(&self.service, &intent).await;
        let committed = unless_absent(context, answer, self.if_exists).await?;
        context.out.answer(&committed, render_committed)
    }
}

/// Turns "there is none" into "nothing had to change" where that was asked for.
pub(crate) async fn unless_absent(
    context: &Context<'_>,
    answer: Result<Committed, ClientError>,
    if_exists: bool,
) -> Result<Committed, Failure> {
    match answer {
        Err(ClientError::Api(error)) if if_exists && error.kind == Kind::NotFound => {
            let revision = context.client.status().await?.revision;
            Ok(Committed {
                revision,
                previous: revision,
                changes: Vec::new(),
                warnings: Vec::new(),
                pending_confirm: None,
            })
        }
        answer => Ok(answer?),
    }
}
