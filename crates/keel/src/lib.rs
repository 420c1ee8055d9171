//! The command line of the appliance: arguments in, text or JSON out, an exit code.
//!
//! It asks the daemon over the control socket and shows the answer. It decides nothing and changes
//! nothing by itself; only `keel config validate` works without the daemon, on the configuration
//! crate. The console wizard and the lockdown are not here yet.

mod address;
mod change;
mod cli;
mod commands;
mod failure;
mod numbers;
mod out;
mod style;
mod table;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;
use keel_api::Client;

pub use address::{Endpoint, NamedTarget, Target, VirtualEndpoint};
pub use cli::{Cli, command};
pub use commands::{
    Overview, alerts, config, connections, drops, explain, floating, health, perf, persistence, service,
    status,
};
pub use failure::{Failure, code};
pub use out::Out;
pub use style::{Style, Terminal};

/// What a command works with.
pub(crate) struct Context<'a> {
    /// The daemon.
    pub(crate) client: Client,
    /// The folders and switches given for every command.
    pub(crate) global: cli::Global,
    /// Where the answer goes.
    pub(crate) out: Out<'a>,
    /// The command as it was typed, for the history.
    pub(crate) typed: String,
}

/// Runs one command line, the program's name first, and returns its exit code.
pub async fn run(
    args: impl IntoIterator<Item = OsString>,
    terminal: &Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, terminal, out, err),
    };
    let (style, err_style) = (terminal.style(cli.global.color), terminal.err_style(cli.global.color));
    let json = cli.global.json;
    let mut context = Context {
        client: Client::in_run_dir(&cli.global.run_dir),
        out: Out::new(out, style, json),
        typed: typed(&args),
        global: cli.global,
    };
    match commands::run(cli.command, &mut context).await {
        Ok(()) => code::SUCCESS,
        Err(failure) => failure.report(err, &err_style, json),
    }
}

/// Help and version are answers; everything else clap says is a mistake in the command line.
fn usage(error: &clap::Error, terminal: &Terminal, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let (writer, colored): (&mut dyn Write, bool) =
        if help { (out, terminal.color) } else { (err, terminal.err_color) };
    let text = error.render();
    let text = if colored { text.ansi().to_string() } else { text.to_string() };
    // Nobody left to read it is no reason to fail differently.
    let _ = writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    if help { code::SUCCESS } else { code::USAGE }
}

fn typed(args: &[OsString]) -> String {
    let rest = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    std::iter::once("keel".into()).chain(rest).collect::<Vec<_>>().join(" ")
}
