//! `keel realserver`: what the servers of a service need.

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::Context;

/// Print the exact commands the real servers of a service need.
///
/// In DR mode the virtual address goes on the loopback without ARP, in NAT mode the default gateway
/// is this appliance, in TUN mode a tunnel interface carries the virtual address.
#[derive(Debug, Clone, Args)]
pub(crate) struct RealServer {
    /// The service
    service: String,

    /// The servers' operating system: linux, windows or bsd
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    os: Os,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Os {
    #[default]
    Linux,
    Windows,
    Bsd,
}

impl RealServer {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Outcome {
        let os = match self.os {
            Os::Linux => "linux",
            Os::Windows => "windows",
            Os::Bsd => "bsd",
        };
        let help = context.client.real_server_help(&self.service, os).await?;
        context.out.answer(&help, |help, _| match help.text.ends_with('\n') {
            true => help.text.clone(),
            false => format!("{}\n", help.text),
        })
    }
}
