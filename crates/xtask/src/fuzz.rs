//! `xtask fuzz`: builds the targets of `fuzz/` with coverage counters, writes their seeds, and lets libFuzzer try inputs for
//! a given time. A broken law is an error that names the input.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, output, root, run};

/// The programs of `fuzz/targets`.
const TARGETS: [&str; 5] = ["packet", "error", "tunnel", "config", "http1"];
/// What one is given unless asked otherwise, also in `xtask test`.
pub(crate) const SECONDS: u64 = 20;
/// For one input. The largest takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Counters at every edge, and the values that are compared: what libFuzzer is guided by.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) seconds: u64,
    pub(crate) targets: Vec<String>,
}

impl Wanted {
    /// From `[--seconds N] [TARGET…]`.
    pub(crate) fn read(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self { seconds: SECONDS, targets: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--seconds" {
                let seconds = rest.next().and_then(|number| number.parse().ok()).filter(|n| *n > 0);
                wanted.seconds = seconds.context("--seconds needs a number from 1")?;
            } else if TARGETS.contains(&argument.as_str()) {
                wanted.targets.push(argument.clone());
            } else {
                bail!("there is no target `{argument}`; there are {}", TARGETS.join(", "));
            }
        }
        if wanted.targets.is_empty() {
            wanted.targets = TARGETS.map(str::to_owned).to_vec();
        }
        Ok(wanted)
    }
}

/// Tries inputs on each target in turn. All are tried before the first failure is returned.
pub(crate) fn fuzz(wanted: &Wanted) -> Result<()> {
    let host = host()?;
    build(&host)?;
    let work = root().join("target/fuzz");
    let programs = work.join("build").join(&host).join("debug");
    run(Command::new(programs.join("seeds")).arg(work.join("seeds")))?;
    let mut failed = Vec::new();
    for target in &wanted.targets {
        if let Err(error) = attempt(&programs, &work, target, wanted.seconds) {
            eprintln!("{error:#}");
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "fuzzing broke a law in {}: the inputs are in {}",
        failed.join(", "),
        work.join("crashes").display()
    )
}

/// The platform's name; flags given for one by name leave build scripts alone.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let banner = output(Command::new(rustc).arg("-vV")).context("`rustc -vV` says nothing")?;
    let host = banner.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.with_context(|| format!("`rustc -vV` names no host:\n{banner}"))?.to_owned())
}

/// Clippy over the targets.
pub(crate) fn lint() -> Result<()> {
    run(on_targets("clippy").args(["--all-targets", "--", "-D", "warnings"]))
}

/// A cargo command in the workspace of the targets, which keeps what it builds away from the main one.
fn on_targets(command: &str) -> Command {
    let mut cargo = cargo(&[command, "--manifest-path", "fuzz/Cargo.toml"]);
    cargo.arg("--target-dir").arg(root().join("target/fuzz/build"));
    cargo
}

fn build(host: &str) -> Result<()> {
    let mut cargo = on_targets("build");
    cargo.args(["--target", host]);
    let mut flags = COVERAGE.to_owned();
    if has_address_sanitizer(host) {
        // The flag is a nightly one, what it does is the same in every toolchain.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        flags.push_str(" -Zsanitizer=address");
    }
    run(cargo.env("RUSTFLAGS", flags))
}

fn has_address_sanitizer(host: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Some(sysroot) = output(Command::new(rustc).args(["--print", "sysroot"])) else { return false };
    let folder = Path::new(&sysroot).join("lib/rustlib").join(host).join("lib");
    let Ok(files) = fs::read_dir(folder) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().ends_with("rt.asan.a"))
}

fn attempt(programs: &Path, work: &Path, target: &str, seconds: u64) -> Result<()> {
    let corpus = work.join("corpus").join(target);
    let crashes = work.join("crashes");
    for folder in [&corpus, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let log = work.join(target).with_extension("log");
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={}", TIMEOUT.as_secs()))
        .arg(format!("-artifact_prefix={}/{target}-", crashes.display()))
        .args(["-max_len=4096", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .args(dictionary(target).map(|file| format!("-dict={}", file.display())))
        .arg(&corpus)
        .arg(work.join("seeds").join(target))
        .args(Some(root().join("fuzz/regressions").join(target)).filter(|folder| folder.is_dir()))
        .stderr(file);
    let result = run(&mut command);
    let told = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let told = String::from_utf8_lossy(&told);
    result.with_context(|| format!("{target}: a law is broken\n{}", end(&told)))?;
    println!("fuzz {target}: {} inputs tried, nothing broke", tried(&told).unwrap_or("some"));
    Ok(())
}

fn dictionary(target: &str) -> Option<PathBuf> {
    let file = root().join("fuzz").join(target).with_extension("dict");
    file.is_file().then_some(file)
}

/// Where a failed run's log says what happened: the first panic, or else its last lines.
fn end(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines
        .iter()
        .position(|line| line.contains("panicked at"))
        .unwrap_or_else(|| lines.len().saturating_sub(20));
    let last = lines.iter().filter(|line| line.contains("Test unit written to")).copied();
    lines[from..].iter().take(12).copied().chain(last).collect::<Vec<_>>().join("\n")
}

/// The number that libFuzzer ends with.
fn tried(log: &str) -> Option<&str> {
    log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> Result<Wanted> {
        Wanted::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_target_all_are_wanted() {
        assert_eq!(wanted("").unwrap().targets, TARGETS);
        assert_eq!(
            wanted("--seconds 5 error").unwrap(),
            Wanted { seconds: 5, targets: vec!["error".to_owned()] }
        );
    }

    #[test]
    fn a_wrong_word_is_refused() {
        for line in ["--seconds", "--seconds soon", "--seconds 0", "parsers"] {
            assert!(wanted(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_failed_runs_log_is_shown_from_the_panic_on() {
        let log =
            "#2 INITED\nthread 'x' panicked at a.rs:1:\nleft is not right\nTest unit written to ./crash-1";
        assert!(end(log).starts_with("thread 'x' panicked") && end(log).ends_with("crash-1"));
        assert_eq!(tried("Done\nstat::number_of_executed_units: 12\n"), Some("12"));
    }

    #[test]
    fn every_target_is_a_program() {
        for target in TARGETS {
            assert!(root().join("fuzz/targets").join(target).with_extension("rs").is_file(), "{target}");
        }
    }
}
