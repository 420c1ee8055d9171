//! `keel-bench`: measures the packet path, the balancer in a lab, changes of the configuration and the rings, and
//! writes what it found. It claims nothing that it didn't measure in the same run.
#![expect(clippy::print_stderr, reason = "it tells on its terminal how far it is")]

mod balancer;
mod change;
mod checks;
mod connections;
mod cpu;
mod effort;
mod fixture;
mod floor;
mod frames;
mod growth;
mod lab;
mod machine;
mod packets;
mod path;
mod report;
mod rings;
mod room;
mod walk;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::effort::Effort;
use crate::report::Results;

/// Measures the load balancer; needs root.
#[derive(Parser)]
#[command(name = "keel-bench", version)]
struct Arguments {
    /// Only see that every measurement works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Where benchmarks.md and benchmarks.json go.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Only some sections: floor, path, growth, lab, change, checks, rings. The page is not written then.
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,
}

const SECTIONS: [&str; 7] = ["floor", "path", "growth", "lab", "change", "checks", "rings"];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keel-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "measuring the kernel needs root");
    for section in &arguments.only {
        let known = SECTIONS.contains(&section.as_str());
        ensure!(known, "there is no section `{section}`; there are {}", SECTIONS.join(", "));
    }
    let results = measure(arguments)?;
    let json = serde_json::to_string_pretty(&results)? + "\n";
    let write = |name: &str, text: String| {
        let file = arguments.out.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };
    write("benchmarks.json", json)?;
    if let Some(page) = report::page(&results) {
        write("benchmarks.md", page)?;
    }
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Results> {
    let effort = Effort { quick: arguments.quick };
    let wanted =
        |section: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == section);
    let mut results =
        Results { machine: machine::Machine::look(), quick: effort.quick, ..Results::default() };
    if !effort.quick {
        results.others_share = cpu::quiet(Duration::from_secs(60))?;
    }
    if wanted("lab") {
        let lab = lab::up()?;
        results.connections = Some(connections::measure(&lab, &effort).context("connections in the lab")?);
        results.packets = Some(packets::measure(&lab, &effort).context("packets in the lab")?);
        lab.down()?;
    }
    if wanted("floor") {
        results.floor = Some(room::inside(|| floor::measure(&effort)).context("bare tables")?);
    }
    if wanted("path") {
        results.path = Some(room::inside(|| path::measure(&effort)).context("the packet path")?);
    }
    if wanted("growth") {
        results.growth = Some(room::inside(|| growth::measure(&effort)).context("many services")?);
    }
    if wanted("change") {
        results.change = Some({
            let whole = whole::measure(&effort).context("changes through the daemon")?;
            room::inside(|| change::measure(&effort, whole)).context("changes")?
        });
    }
    if wanted("checks") {
        results.checks = Some(checks::measure(&effort).context("health checks")?);
    }
    if wanted("rings") {
        results.rings = Some(rings::measure());
    }
    Ok(results)
}
