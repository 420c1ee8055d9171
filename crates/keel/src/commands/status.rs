//! `keel status`: the System Overview of the console.

mod render;

use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::Context;
use crate::failure::Failure;

pub use render::render;
pub(crate) use render::{listen, place, weight};

/// Show how the node, its services and their servers are doing.
///
/// Each service and server has a colour, a shape and a word: green is healthy, yellow is
/// degraded (some servers down), red is down, blue is offline on purpose.
/// ACTIVE counts established connections and UDP flows, INACT closing ones, PEND half-open ones.
#[derive(Debug, Clone, Args)]
pub(crate) struct Status {
    /// Show it again every so many seconds until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

/// The node and its services, as `keel status --json` prints them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The node.
    #[serde(flatten)]
    pub status: keel_api::Status,
    /// The services.
    pub services: Vec<keel_api::ServiceStatus>,
}

/// Moves the cursor home and clears what is there.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Status {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let Some(seconds) = self.watch else {
            let overview = ask(context).await?;
            return context.out.answer(&overview, render);
        };
        let stop = tokio::signal::ctrl_c();
        tokio::pin!(stop);
        loop {
            let again = async {
                let overview = ask(context).await?;
                if !context.out.is_json() {
                    context.out.text(CLEAR)?;
                }
                context.out.answer(&overview, render)?;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok::<(), Failure>(())
            };
            tokio::select! {
                shown = again => shown?,
                _ = &mut stop => return Ok(()),
            }
        }
    }
}

async fn ask(context: &Context<'_>) -> Result<Overview, Failure> {
    let (status, services) = tokio::try_join!(context.client.status(), context.client.services())?;
    Ok(Overview { status, services })
}
