//! Installs what building and testing need and this machine lacks, on Debian as root; elsewhere says what that is.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

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
/// Servers that health checks are tried against. What lies in no folder of programs is named by its path.
const SERVERS: [(&str, &str); 13] = [
    ("/usr/lib/dovecot/imap", "dovecot-imapd"),
    ("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
    ("exim4", "exim4-daemon-light"),
    ("freeradius", "freeradius"),
    ("kamailio", "kamailio"),
    ("leafnode", "leafnode"),
    ("mariadbd", "mariadb-server"),
    ("nsd", "nsd"),
    ("pg_ctlcluster", "postgresql"),
    ("redis-server", "redis-server"),
    ("slapd", "slapd"),
    ("vsftpd", "vsftpd"),
    ("xrdp", "xrdp"),
];
/// Packages, and the services that they enable.
const SERVICES: [(&str, &str); 15] = [
    ("dovecot-imapd", "dovecot"),
    ("dovecot-pop3d", "dovecot"),
    ("exim4-daemon-light", "exim4"),
    ("freeradius", "freeradius"),
    ("haproxy", "haproxy"),
    ("kamailio", "kamailio"),
    ("mariadb-server", "mariadb"),
    ("nginx-light", "nginx"),
    ("nsd", "nsd"),
    ("postgresql", "postgresql"),
    ("redis-server", "redis-server"),
    ("slapd", "slapd"),
    ("vsftpd", "vsftpd"),
    ("xrdp", "xrdp"),
    ("xrdp", "xrdp-sesman"),
];
/// What a package asks before it starts a service (invoke-rc.d): 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
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
    let tools = TOOLS.iter().chain(&SERVERS);
    let tools = tools.filter(|(tool, _)| find(tool).is_none()).map(|(_, package)| *package);
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
    let quiet = Quiet::begin()?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))?;
    drop(quiet);
    disable(packages);
    Ok(())
}

/// They are for tests, which start their own: none starts with the machine, which nobody asked for.
fn disable(packages: &[&str]) {
    if find("systemctl").is_none() {
        return;
    }
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages.contains(package)) {
        if let Err(error) = run(Command::new("systemctl").args(["disable", "--now", service])) {
            eprintln!("{service} may be running on this machine now: {error:#}");
        }
    }
}

/// While this lives, no package starts a service.
struct Quiet {
    /// Whether the policy is ours; one that was there stays, and decides.
    ours: bool,
}

impl Quiet {
    fn begin() -> Result<Self> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Self { ours: false }),
            Err(error) => return Err(error).with_context(|| format!("creating {POLICY}")),
        };
        let quiet = Self { ours: true };
        file.write_all(b"#!/bin/sh\nexit 101\n").with_context(|| format!("writing {POLICY}"))?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} keeps services from starting and must be removed: {error}");
        }
    }
}
