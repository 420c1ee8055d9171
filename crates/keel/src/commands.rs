//! The commands, one file each: its arguments, what it asks, how the answer looks.

pub mod alerts;
pub(crate) mod apply;
pub(crate) mod completions;
pub mod config;
pub mod connections;
pub mod drops;
pub mod explain;
pub mod floating;
pub mod health;
pub mod perf;
pub mod persistence;
pub(crate) mod realserver;
pub(crate) mod server;
pub mod service;
mod settings;
pub mod status;
pub(crate) mod version;

pub use status::Overview;

use crate::Context;
use crate::cli::Command;
use crate::failure::Failure;

/// What a command ends with.
pub(crate) type Outcome = Result<(), Failure>;

pub(crate) async fn run(command: Command, context: &mut Context<'_>) -> Outcome {
    match command {
        Command::Status(command) => command.run(context).await,
        Command::Service(command) => command.run(context).await,
        Command::Server(command) => command.run(context).await,
        Command::Floating(command) => command.run(context).await,
        Command::Apply(command) => command.run(context).await,
        Command::Config(command) => command.run(context).await,
        Command::Connections(command) => command.run(context).await,
        Command::Persistence(command) => command.run(context).await,
        Command::Explain(command) => command.run(context).await,
        Command::Health(command) => command.run(context).await,
        Command::Alerts(command) => command.run(context).await,
        Command::Drops(command) => command.run(context).await,
        Command::Perf(command) => command.run(context).await,
        Command::Realserver(command) => command.run(context).await,
        Command::Version(command) => command.run(context).await,
        Command::Completions(command) => command.run(context),
    }
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read_text(path: &std::path::Path) -> Result<String, Failure> {
    let text = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    text.map_err(|error| Failure::reading(path, error))
}
