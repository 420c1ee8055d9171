//! Command line of the daemon.
use std::path::PathBuf;

use clap::Parser;

/// Evenkeel's control daemon: configuration, packet path, addresses and statistics of one node.
///
/// Packets are forwarded by a program in the kernel. It goes on while keeld is stopped, and keeld picks it up again
/// when it starts; only --detach takes it away.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Where cluster.toml and node.toml are.
    #[arg(long, value_name = "DIR", default_value = "/etc/evenkeel")]
    pub(crate) config_dir: PathBuf,

    /// Where revisions and the journal are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/evenkeel")]
    pub(crate) state_dir: PathBuf,

    /// Where the control socket and the pid file are made.
    #[arg(long, value_name = "DIR", default_value = "/run/evenkeel")]
    pub(crate) run_dir: PathBuf,

    /// Where maps and links are pinned, on a bpf file system.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/evenkeel")]
    pub(crate) bpf_dir: PathBuf,

    /// Remove the packet program from all interfaces, its maps, our addresses, rules and nftables table, then exit.
    /// All connections through this node end.
    #[arg(long)]
    pub(crate) detach: bool,

    /// Run the scripts of health checks for the keeld at the other end of standard input. Not for people.
    #[arg(long, hide = true)]
    pub(crate) serve_scripts: bool,
}
