//! Installs what building and testing need and this machine lacks, on Debian as root; elsewhere says what that is.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, find, output, run};
use crate::ebpf;

/// Programs, and Debian's packages that have them.
const TOOLS: [(&str, &str); 15] = [
    ("c++", "g++"),
    ("cc", "gcc"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("git", "git"),
    ("haproxy", "haproxy"),
    ("hostname", "hostname"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("strace", "strace"),
    ("tcpdump", "tcpdump"),
    ("wrk", "wrk"),
];
/// For the packet programs, unless rustup's nightly is complete.
const EBPF_TOOLCHAIN: [&str; 3] = ["cargo-web", "rust-web-src", "rustc-web"];
/// For building bpf-linker.
const LLVM: [&str; 5] = ["g++", "libpolly-22-dev", "libzstd-dev", "llvm-22-dev", "zlib1g-dev"];
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const BPF_LINKER: [&str; 7] =
    ["install", "bpf-linker", "--version", "0.13.0", "--no-default-features", "--features", "llvm-22"];

/// Installs what is missing; does nothing, quickly, when nothing is.
pub(crate) fn ensure() -> Result<()> {
    let no_linker = find("bpf-linker").is_none();
    let no_toolchain = ebpf::toolchain().is_err();
    let packages = missing_packages(no_toolchain, no_toolchain && no_linker);
    if !packages.is_empty() {
        install(&packages)?;
    }
    if no_toolchain && no_linker {
        run(cargo(&BPF_LINKER).env("LLVM_PREFIX", LLVM_PREFIX))?;
    }
    if no_toolchain {
        ebpf::toolchain()?;
    }
    Ok(())
}

fn missing_packages(toolchain: bool, linker: bool) -> Vec<&'static str> {
    let tools = TOOLS.iter().filter(|(tool, _)| find(tool).is_none()).map(|(_, package)| *package);
    let toolchain = EBPF_TOOLCHAIN.into_iter().filter(|_| toolchain);
    let llvm = LLVM.into_iter().filter(|_| linker);
    tools.chain(toolchain.chain(llvm).filter(|package| !is_installed(package))).collect()
}

fn is_installed(package: &str) -> bool {
    let status = output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.as_deref() == Some("installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("this machine lacks what Debian calls {list}: install it with the system's package manager");
    }
    if output(Command::new("id").arg("-u")).as_deref() != Some("0") {
        bail!("packages are missing; as root: apt-get install --no-install-recommends {list}");
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))?;
    // They are for the lab. The packages start them on the machine itself, which nobody asked for.
    for (package, service) in [("nginx-light", "nginx"), ("haproxy", "haproxy")] {
        if packages.contains(&package) && find("systemctl").is_some() {
            run(Command::new("systemctl").args(["disable", "--now", service])).or_else(|error| {
                eprintln!("{service} may be running on this machine now: {error:#}");
                Ok::<(), anyhow::Error>(())
            })?;
        }
    }
    Ok(())
}
