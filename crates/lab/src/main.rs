//! `keel-lab`: labs of network namespaces on the command line. The library does the work.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};

use keel_lab::{Lab, Options, State, Topology, running};

/// Labs of network namespaces: a client, a router, balancers and real servers on this machine.
#[derive(Parser)]
#[command(name = "keel-lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Which {
    /// The lab's name; labs of different names don't touch each other.
    #[arg(long, default_value = "keel", value_name = "NAME")]
    prefix: String,
}

#[derive(Subcommand)]
enum Command {
    /// Make a lab; it stays until `down`.
    Up {
        #[command(flatten)]
        which: Which,
        /// one-arm, two-arm, tunnel or pair.
        #[arg(long, default_value = "one-arm")]
        topology: Topology,
        /// How many real servers, 1 to 99.
        #[arg(long, default_value_t = 3, value_name = "N")]
        servers: u8,
        /// Leave the balancers bare: they only forward.
        #[arg(long)]
        no_appliance: bool,
        /// The folder of keel-lab, keeld and keel.
        #[arg(long, value_name = "FOLDER")]
        binaries: Option<PathBuf>,
        /// Stay until Ctrl-C or SIGTERM, and remove the lab then.
        #[arg(long)]
        foreground: bool,
    },
    /// Run a command inside a node.
    Exec {
        #[command(flatten)]
        which: Which,
        /// client, router, lb1, rs1, …
        node: String,
        /// The command and its arguments.
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Remove a lab: its processes, namespaces, mounts and files.
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// Show the labs that are up.
    List {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Hold a node's namespaces.
    #[command(hide = true)]
    Hold {
        /// The node's name, for who looks at the list of processes.
        node: String,
        /// End with the process at the other end of the input, and all that runs in the node too.
        #[arg(long)]
        owned: bool,
    },
    /// Answer datagrams with a name.
    #[command(hide = true)]
    UdpEcho {
        /// The name.
        name: String,
        #[arg(long, default_value_t = 9000)]
        port: u16,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keel-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { which, topology, servers, no_appliance, binaries, foreground } => {
            let (prefix, appliance, keep) = (which.prefix, !no_appliance, !foreground);
            up(topology, &Options { prefix, servers, appliance, binaries, keep }, foreground)?;
        }
        Command::Exec { which, node, command } => {
            return Err(Lab::open(&which.prefix)?.become_program(&node, &command).into());
        }
        Command::Down { which } => Lab::open(&which.prefix)?.down()?,
        Command::List { json: true } => println!("{}", serde_json::to_string_pretty(&running())?),
        Command::List { json: false } => running().iter().for_each(show),
        Command::Hold { node: _, owned } => keel_lab::hold(owned),
        Command::UdpEcho { name, port } => keel_lab::serve_udp_echo(&name, port)?,
    }
    Ok(())
}

fn up(topology: Topology, options: &Options, foreground: bool) -> Result<()> {
    // Held back from the start: a lab that is half made is not left behind either.
    let end = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    if foreground {
        end.thread_block()?;
    }
    let lab = Lab::up(topology, options)?;
    show(lab.state());
    if options.appliance && !lab.state().appliance {
        eprintln!("keeld is not built, so the balancers are bare: `make build` builds it");
    }
    if foreground {
        println!("ready: Ctrl-C removes the lab");
        end.wait()?;
        lab.down()?;
    }
    Ok(())
}

fn show(lab: &State) {
    println!("{} ({})", lab.prefix, lab.topology);
    for node in &lab.nodes {
        let mut links = node.links.iter();
        let line = |link: &keel_lab::Link| {
            format!("{} {} {} ({})", link.device, link.ipv4, link.ipv6, link.network.name())
        };
        println!("  {:<8}{}", node.name, links.next().map(line).unwrap_or_default());
        links.for_each(|link| println!("  {:<8}{}", "", line(link)));
    }
}
