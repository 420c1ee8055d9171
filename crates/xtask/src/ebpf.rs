//! Builds the packet programs: decides whether they are stale, picks a toolchain that can, copies the objects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, find, output, root, run};

/// The programs of `ebpf/src/bin`; each becomes `target/bpf/NAME.o`.
const PROGRAMS: [&str; 3] = ["keel", "lab", "bench"];
const SOURCES: [&str; 6] = [
    "ebpf/Cargo.toml",
    "ebpf/Cargo.lock",
    "ebpf/.cargo/config.toml",
    "ebpf/src",
    "crates/abi/Cargo.toml",
    "crates/abi/src",
];
/// Debian's own rustc is far older than its `rustc-web`; aya-ebpf needs edition 2024.
const OLDEST_MINOR: u32 = 87;

/// Builds the objects if a source changed since the last build.
pub(crate) fn build() -> Result<()> {
    let root = root();
    let out = root.join("target/bpf");
    let stamp = out.join(".stamp");
    if is_fresh(&root, &out, &stamp) {
        return Ok(());
    }
    let started = SystemTime::now();
    let mut cargo = toolchain()?;
    run(cargo.current_dir(root.join("ebpf")).args(["build", "--release"]))?;
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    for program in PROGRAMS {
        let built = root.join("target/ebpf/bpfel-unknown-none/release").join(program);
        copy_if_changed(&built, &out.join(program).with_extension("o"))?;
    }
    // Sources saved while the build ran are newer than this, so the next call builds again.
    fs::write(&stamp, "")
        .and_then(|()| fs::File::options().write(true).open(&stamp)?.set_modified(started))?;
    Ok(())
}

/// Leaves an equal object alone, so that the crates that embed it are not built again.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let object = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == object) {
        return Ok(());
    }
    let new = to.with_extension("o.new");
    fs::write(&new, object)
        .and_then(|()| fs::rename(&new, to))
        .with_context(|| format!("writing {}", to.display()))
}

fn is_fresh(root: &Path, out: &Path, stamp: &Path) -> bool {
    let Ok(built) = fs::metadata(stamp).and_then(|data| data.modified()) else { return false };
    let complete = PROGRAMS.iter().all(|program| out.join(program).with_extension("o").is_file());
    complete && SOURCES.iter().all(|source| newest(&root.join(source)).is_some_and(|time| time < built))
}

/// The latest modification in a file or a folder and all that is in it; `None` if something can't be read.
fn newest(path: &Path) -> Option<SystemTime> {
    let data = fs::metadata(path).ok()?;
    let mut latest = data.modified().ok()?;
    if data.is_dir() {
        for entry in fs::read_dir(path).ok()? {
            latest = latest.max(newest(&entry.ok()?.path())?);
        }
    }
    Some(latest)
}

/// A cargo, ready to build for the BPF target.
pub(crate) fn toolchain() -> Result<Command> {
    let wanted = std::env::var("KEEL_BPF_TOOLCHAIN").unwrap_or_default();
    let mut missing = Vec::new();
    for (name, candidate) in [("rustup", rustup()), ("debian", debian())] {
        match candidate {
            Ok(cargo) if wanted.is_empty() || wanted == name => return Ok(cargo),
            Ok(_) => {}
            Err(lacks) => missing.push(format!("  {name}: {lacks}")),
        }
    }
    bail!(
        "no toolchain here can build the packet programs:\n{}\n\
         Either: `rustup toolchain install nightly --component rust-src && cargo install bpf-linker`\n\
         or, on Debian 12 as root: `make setup`",
        missing.join("\n")
    )
}

fn rustup() -> Result<Command, String> {
    let rustup = find("rustup").ok_or("rustup is not installed")?;
    let sysroot = output(clean(&rustup).args(["run", "nightly", "rustc", "--print", "sysroot"]))
        .ok_or("there is no nightly toolchain")?;
    has_source(Path::new(&sysroot)).then_some(()).ok_or("the nightly toolchain has no rust-src")?;
    find("bpf-linker").ok_or("bpf-linker is not installed")?;
    let mut cargo = clean(&rustup);
    cargo.args(["run", "nightly", "cargo"]);
    Ok(cargo)
}

fn debian() -> Result<Command, String> {
    let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    let version =
        output(clean(&rustc).arg("--version")).ok_or("/usr/bin/rustc is missing (package rustc-web)")?;
    if minor(&version).is_none_or(|minor| minor < OLDEST_MINOR) {
        return Err(format!("{version} is too old (package rustc-web brings a newer one)"));
    }
    cargo.is_file().then_some(()).ok_or("/usr/bin/cargo is missing (package cargo-web)")?;
    let sysroot = output(clean(&rustc).args(["--print", "sysroot"])).ok_or("rustc shows no sysroot")?;
    has_source(Path::new(&sysroot)).then_some(()).ok_or("the library's source is missing (rust-web-src)")?;
    find("bpf-linker").ok_or("bpf-linker is not installed")?;
    let mut command = clean(&cargo);
    command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

/// A command without what the cargo that started us left in the environment, which is about another toolchain.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let ours = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name_text.as_ref());
        if !ours && ["CARGO", "RUST", "LD_LIBRARY_PATH"].iter().any(|start| name_text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command.env("PATH", command::path_with_cargo_bin());
    command
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
}

/// The 96 of "rustc 1.96.0 (…)".
fn minor(version: &str) -> Option<u32> {
    version.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_minor_version_is_read_from_its_banner() {
        assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(96));
        assert_eq!(minor("something else"), None);
    }
}
