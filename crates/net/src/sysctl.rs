//! Kernel settings of this network namespace, under `/proc/sys/net`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{NetError, Result};

/// An address family, for the settings that exist once per family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The setting that lets this namespace forward packets of the family between its interfaces.
    pub fn forwarding(self) -> &'static str {
        match self {
            Self::V4 => "net/ipv4/ip_forward",
            Self::V6 => "net/ipv6/conf/all/forwarding",
        }
    }
}

/// The settings that let ICMP redirects out of an interface: the kernel sends them if either `all` or the interface says
/// so.
pub fn redirects(interface: &str) -> [String; 2] {
    ["all", interface].map(|name| format!("net/ipv4/conf/{name}/send_redirects"))
}

/// Lets this namespace forward packets of the family between its interfaces.
///
/// With IPv6 forwarding the kernel ignores router advertisements (unless `accept_ra` is 2): routes must be configured.
///
/// # Errors
/// [`NetError::WriteSysctl`], [`NetError::ReadSysctl`].
pub fn enable_forwarding(family: Family) -> Result<()> {
    set(family.forwarding(), "1")
}

/// Stops ICMP redirects out of an interface: with NAT on one arm, they would teach servers and clients to bypass us.
///
/// The kernel sends them if either `all` or the interface says so, so both are turned off.
///
/// # Errors
/// [`NetError::WriteSysctl`], [`NetError::ReadSysctl`].
pub fn stop_redirects(interface: &str) -> Result<()> {
    redirects(interface).iter().try_for_each(|name| set(name, "0"))
}

/// Keeps the other addresses of a subnet when the first one is removed; otherwise they all go with it (IPv4).
///
/// # Errors
/// [`NetError::WriteSysctl`], [`NetError::ReadSysctl`].
pub fn promote_secondaries(interface: &str) -> Result<()> {
    set_for("ipv4", interface, "promote_secondaries", "1")
}

/// Sets `net/<family>/conf/<interface>/<name>`; VLAN names with dots are fine.
///
/// # Errors
/// [`NetError::WriteSysctl`], [`NetError::ReadSysctl`].
pub fn set_for(family: &str, interface: &str, name: &str, value: &str) -> Result<()> {
    set(&format!("net/{family}/conf/{interface}/{name}"), value)
}

/// Sets one value by its path below `/proc/sys`, and only if it differs: an unprivileged reader of a right value is no error.
///
/// # Errors
/// [`NetError::WriteSysctl`], [`NetError::ReadSysctl`].
pub fn set(name: &str, value: &str) -> Result<()> {
    let path = path(name);
    if read(&path).is_ok_and(|now| now == value) {
        return Ok(());
    }
    let failed = |source| NetError::WriteSysctl { path: path.clone(), value: value.to_owned(), source };
    fs::write(&path, value).map_err(failed)?;
    // Some settings take a write and keep their value (locked down, wrong namespace): look again.
    match read(&path) {
        Ok(now) if now == value => Ok(()),
        Ok(now) => Err(failed(io::Error::other(format!("it stays at {now}")))),
        Err(source) => Err(NetError::ReadSysctl { path, source }),
    }
}

/// Reads one value by its path below `/proc/sys`, trimmed.
///
/// # Errors
/// [`NetError::ReadSysctl`].
pub fn get(name: &str) -> Result<String> {
    let path = path(name);
    read(&path).map_err(|source| NetError::ReadSysctl { path, source })
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}
