//! The command line as clap sees it.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::{
    alerts, apply, completions, config, connections, drops, explain, floating, health, perf, persistence,
    realserver, server, service, status, version,
};
use crate::style::ColorChoice;

const AFTER_HELP: &str = "\
Addresses: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80

Exit codes:
  0  done
  1  it failed
  2  the command line makes no sense
  3  the configuration was refused
  4  the daemon cannot be reached
  5  conflict: it exists already, or somebody else changed the configuration";

/// Look after an Evenkeel load balancer.
#[derive(Debug, Parser)]
#[command(name = "keel", version, after_help = AFTER_HELP, disable_help_subcommand = true, propagate_version = false)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The same for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Answer in JSON; errors become a problem document (RFC 9457) on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colour; NO_COLOR is respected
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) color: ColorChoice,

    /// The folder of the daemon's socket
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/evenkeel")]
    pub(crate) run_dir: PathBuf,

    /// The folder of cluster.toml and node.toml
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/evenkeel")]
    pub(crate) config_dir: PathBuf,

    /// Not used here; taken so that all programs can be given the same folders
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    state_dir: Option<PathBuf>,

    /// Not used here; taken so that all programs can be given the same folders
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    bpf_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(status::Status),
    #[command(subcommand)]
    Service(service::Service),
    #[command(subcommand)]
    Server(server::Server),
    #[command(subcommand)]
    Floating(floating::Floating),
    Apply(apply::Apply),
    #[command(subcommand)]
    Config(config::Config),
    Connections(connections::Connections),
    Persistence(persistence::Persistence),
    Explain(explain::Explain),
    Health(health::Health),
    Alerts(alerts::Alerts),
    Drops(drops::Drops),
    Perf(perf::Perf),
    Realserver(realserver::RealServer),
    Version(version::Version),
    #[command(hide = true)]
    Completions(completions::Completions),
}

/// The whole command line, for the help, the documentation and the completions.
pub fn command() -> clap::Command {
    Cli::command()
}
