//! What this machine must offer, checked before it is used; every refusal says what is missing and the command that mends it.

use std::{fs, path::Path};

use nix::sys::statfs::{FsType, statfs};

use crate::{NetError, Result};

/// `BPF_FS_MAGIC`
const BPF_FS: FsType = FsType(0xcafe_4a11_u32 as _);

/// A Linux capability that some part of the appliance works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Interfaces, addresses, routes, nftables, attaching XDP.
    NetAdmin = 12,
    /// Packet sockets: announcements.
    NetRaw = 13,
    /// Nearly anything; here: reading inner maps back.
    SysAdmin = 21,
    /// Scheduling priority.
    SysNice = 23,
    /// Loading programs and creating maps.
    Bpf = 39,
    /// Tracing-grade program features: pointer arithmetic, unbounded loops.
    Perfmon = 38,
}

impl Capability {
    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysNice => "CAP_SYS_NICE",
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
        }
    }
}

/// This process has the capability in its effective set; `purpose` completes "it is needed to …".
///
/// # Errors
/// [`NetError::Requirement`].
pub fn capability(capability: Capability, purpose: &str) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if effective(&status) & (1 << capability as u8) != 0 {
        return Ok(());
    }
    let name = capability.name();
    missing(
        format!("this process lacks {name}, which it needs to {purpose}"),
        format!(
            "start it as root with {name} in its bounding set (CapabilityBoundingSet= in its systemd unit, --cap-add= \
             of a container), or give it {name} with AmbientCapabilities="
        ),
    )
}

/// A BPF filesystem is mounted at this folder or above it.
///
/// # Errors
/// [`NetError::Requirement`].
pub fn bpf_filesystem(dir: &Path) -> Result<()> {
    let existing = dir.ancestors().find(|p| p.exists()).unwrap_or_else(|| Path::new("/"));
    if statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS) {
        return Ok(());
    }
    let mount_point = if dir.starts_with("/sys/fs/bpf") { Path::new("/sys/fs/bpf") } else { dir };
    missing(
        format!(
            "no BPF filesystem is mounted at {}, and pinned maps must live on one",
            mount_point.display()
        ),
        format!("mount -t bpf bpf {}", mount_point.display()),
    )
}

/// The running kernel is at least this version; `purpose` completes "it is needed for …".
///
/// # Errors
/// [`NetError::Requirement`].
pub fn kernel(major: u32, minor: u32, purpose: &str) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_some_and(|running| running >= (major, minor)) {
        return Ok(());
    }
    missing(
        format!("the kernel is {}, and {purpose} needs {major}.{minor}", release.trim()),
        "install a newer one: apt-get install linux-image-amd64, then reboot".to_owned(),
    )
}

fn missing(missing: String, fix: String) -> Result<()> {
    Err(NetError::Requirement { missing, fix })
}

fn effective(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(version("6.18.44-fc-v669\n"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert!(version("6.10") > version("6.9"));
        assert_eq!(version(""), None);
    }

    #[test]
    fn the_effective_set_is_read() {
        assert_eq!(effective("Name:\tx\nCapInh:\t0\nCapEff:\t0000000000003000\n"), 1 << 12 | 1 << 13);
        assert_eq!(effective(""), 0);
    }

    #[test]
    fn a_missing_mount_names_the_command() {
        let error = bpf_filesystem(Path::new("/proc/no/such/folder")).unwrap_err();
        assert!(error.to_string().ends_with("; mount -t bpf bpf /proc/no/such/folder"), "{error}");
    }

    #[test]
    fn a_kernel_from_the_future_is_missing() {
        let error = kernel(99, 0, "a test").unwrap_err().to_string();
        assert!(error.contains("a test needs 99.0"), "{error}");
        assert!(kernel(3, 0, "a test").is_ok());
    }
}
