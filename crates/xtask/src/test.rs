//! `xtask test` and `xtask lint`: formatting, clippy, then every test of the workspace against fresh release binaries,
//! the demo, and a little fuzzing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, release_folder};
use crate::command::{cargo, run};
use crate::demo;
use crate::fuzz;
use crate::tally::Tally;

/// Formatting and clippy.
pub(crate) fn lint() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for manifest in ["ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        run(&mut cargo(&["fmt", "--check", "--manifest-path", manifest]))?;
    }
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    fuzz::lint()
}

/// Everything. The last line is the sum over all test programs; what fails without a result counts as one.
pub(crate) fn test() -> Result<()> {
    let mut tally = Tally::default();
    let steps: [fn(&mut Tally) -> Result<()>; 5] = [
        |_| build::ready(),
        |_| lint(),
        |tally| build::binaries().and_then(|()| workspace(tally)),
        demonstration,
        fuzzing,
    ];
    let mut failures = Vec::new();
    for step in steps {
        let failed_before = tally.failed;
        if let Err(error) = step(&mut tally) {
            eprintln!("error: {error:#}");
            tally.failed += u32::from(tally.failed == failed_before);
            failures.push(error);
        }
    }
    println!("{}", tally.line());
    match failures.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// What a newcomer sees first has to work; it counts as a test.
fn demonstration(tally: &mut Tally) -> Result<()> {
    demo::once()?;
    tally.passed += 1;
    Ok(())
}

/// Every target that breaks no law counts as a test.
fn fuzzing(tally: &mut Tally) -> Result<()> {
    let wanted = fuzz::Wanted::read(&[])?;
    fuzz::fuzz(&wanted)?;
    tally.passed += u32::try_from(wanted.targets.len())?;
    Ok(())
}

fn workspace(tally: &mut Tally) -> Result<()> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    // The end-to-end tests use what is shipped.
    command.env("KEEL_BIN_DIR", release_folder()).stdout(Stdio::piped());
    eprintln!("+ cargo test --workspace --no-fail-fast");
    let mut child = command.spawn().context("starting cargo test")?;
    let output = child.stdout.take().context("reading the output of cargo test")?;
    let mut terminal = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading the output of cargo test")?;
        tally.read(&String::from_utf8_lossy(&line));
        terminal.write_all(&line)?;
        terminal.write_all(b"\n")?;
    }
    let status = child.wait().context("waiting for cargo test")?;
    if !status.success() {
        bail!("`cargo test --workspace` failed: {status}");
    }
    Ok(())
}
