//! `keel version`: this program and the daemon.

use clap::Args;
use keel_api::Versions;
use serde::Serialize;

use super::Outcome;
use crate::Context;

/// Show the versions of this program, the daemon, the packet program and the kernel.
#[derive(Debug, Clone, Args)]
pub(crate) struct Version {}

#[derive(Serialize)]
struct Answer {
    keel: &'static str,
    daemon: Option<Versions>,
    #[serde(skip)]
    absence: String,
}

impl Version {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let keel = env!("CARGO_PKG_VERSION");
        let answer = match context.client.status().await {
            Ok(status) => Answer { keel, daemon: Some(status.versions), absence: String::new() },
            Err(error) => Answer { keel, daemon: None, absence: error.to_string() },
        };
        context.out.answer(&answer, |answer, style| match &answer.daemon {
            Some(Versions { keeld, dataplane, kernel }) => {
                format!("keel {keel}\nkeeld {keeld}\ndataplane {dataplane}\nkernel {kernel}\n")
            }
            None => format!("keel {keel}\n") + &style.wrap(&answer.absence, 0),
        })
    }
}
