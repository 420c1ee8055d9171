//! `keel persistence`: which client sticks to which server.

use std::net::IpAddr;

use clap::Args;
use keel_api::{Forgotten, Light, PersistenceFilter, PersistencePage};

use super::Outcome;
use crate::Context;
use crate::failure::Failure;
use crate::numbers::{plural, span};
use crate::style::{Paint, Style};
use crate::table::{Cell, Column, Table};

/// Show which clients stick to which server, and for how long; or let them go.
///
/// Clients of a service stick if it has persistence (`keel service set SERVICE --persistence
/// source`). Letting one go ends no connection: its next one goes where the scheduler says.
#[derive(Debug, Clone, Args)]
pub(crate) struct Persistence {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,

    /// Only this client, or the network that it counts as
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,

    /// Let them go; needs a service or a client
    #[arg(long)]
    clear: bool,

    /// At most so many; 0 is all of them
    #[arg(long, value_name = "NUMBER", default_value_t = keel_api::ConnectionFilter::DEFAULT_LIMIT)]
    limit: usize,
}

impl Persistence {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let filter = PersistenceFilter {
            service: self.service.clone(),
            client: self.client,
            ..PersistenceFilter::default()
        };
        if self.clear {
            if self.service.is_none() && self.client.is_none() {
                let text = "whose clients? write `keel persistence SERVICE --clear`, or add --client IP";
                return Err(Failure::Usage(text.to_owned()));
            }
            let forgotten = context.client.forget_clients(&filter).await?;
            return context.out.answer(&forgotten, |forgotten, _| cleared(*forgotten));
        }
        let page = self.ask(context, filter).await?;
        context.out.answer(&page, render)
    }

    /// Asks page by page until there are enough.
    async fn ask(
        &self,
        context: &Context<'_>,
        filter: PersistenceFilter,
    ) -> Result<PersistencePage, Failure> {
        let wanted = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut all = PersistencePage::default();
        loop {
            let limit = (wanted - all.clients.len()).min(keel_api::ConnectionFilter::MAX_LIMIT);
            let filter = PersistenceFilter { limit: Some(limit), cursor: all.next.take(), ..filter.clone() };
            let page = context.client.persistence(&filter).await?;
            all.clients.extend(page.clients);
            (all.next, all.total) = (page.next, page.total);
            if all.next.is_none() || all.clients.len() >= wanted {
                return Ok(all);
            }
        }
    }
}

fn cleared(forgotten: Forgotten) -> String {
    format!("{} let go.\n", plural(usize::try_from(forgotten.clients).unwrap_or(usize::MAX), "client"))
}

/// The table, then how much of it this is.
pub fn render(page: &PersistencePage, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::name("SERVICE", 12),
        Column::text("CLIENT"),
        Column::name("SERVER", 12),
        Column::number("LEFT"),
        Column::text("STATE"),
    ]);
    for client in &page.clients {
        table.row(vec![
            client.service.clone().into(),
            client.client.clone().into(),
            client.server.clone().unwrap_or_else(|| "(removed)".to_owned()).into(),
            span(client.expires_seconds).into(),
            match client.proved {
                true => "sticks".into(),
                false => Cell::painted("not proved yet", Paint::Light(Light::Yellow)),
            },
        ]);
    }
    let rows = if page.clients.is_empty() { String::new() } else { table.render(style) };
    let more = if page.next.is_some() { "; --limit 0 shows all" } else { "" };
    let total = usize::try_from(page.total).unwrap_or(usize::MAX);
    format!("{rows}{} of {} shown{more}\n", page.clients.len(), plural(total, "client"))
}
