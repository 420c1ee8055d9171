//! The control daemon: it holds the configuration, fills the packet path's maps, keeps addresses and neighbours in
//! order and answers on the control socket. It forwards no packet itself and may be stopped, killed and replaced while
//! traffic runs.

mod addresses;
mod alerts;
mod args;
mod audit;
mod clock;
mod commit;
mod control;
mod daemon;
mod detach;
mod explain;
mod fallback;
mod follow;
mod former;
mod health;
mod helper;
mod hops;
mod interfaces;
mod lookup;
mod metrics;
mod names;
mod nftables;
mod node;
mod placing;
mod policy;
mod privileges;
mod rates;
mod retired;
mod routes;
mod seed;
mod view;
mod warnings;

use anyhow::{Context, Result};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Args;

/// What is logged unless `KEEL_LOG` says otherwise. The resolver's crates write a line for whatever is wrong in what they
/// receive, so anybody who can send it could fill the log; what matters of it is said with the name that was looked up.
const LOG: &str = "info,hickory_net=off,hickory_proto=off,hickory_resolver=off";

fn main() -> Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("KEEL_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    if args.serve_scripts {
        return helper::serve();
    }
    let scripts = if args.detach { None } else { helper::start() };
    privileges::limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(privileges::shed)
        .build()
        .context("starting the runtime")?;
    let done = if args.detach {
        runtime.block_on(detach::detach(&args))
    } else {
        runtime.block_on(daemon::run(args, scripts))
    };
    // A name server that doesn't answer may hold a thread for half a minute; nothing waits for that.
    runtime.shutdown_background();
    done
}
