//! The few driver settings the packet path depends on, through the small legacy ethtool requests.

use std::{io, os::fd::AsRawFd};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::{NetError, Result};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_DRIVER: u32 = 0x03;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const FLAG_RX_VLAN: u32 = 1 << 8;

/// An offload that can be read and switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offload {
    /// The card fills in checksums of packets that we send.
    TxChecksum,
    /// The kernel merges received packets.
    Gro,
    /// The card takes the VLAN tag out of received frames, where an XDP program cannot see it.
    RxVlan,
}

/// The name of the interface's driver: `veth`, `virtio_net`, `ixgbe`.
///
/// # Errors
/// [`NetError::Ethtool`].
pub fn driver(interface: &str) -> Result<String> {
    #[repr(C)]
    struct DriverInfo {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    let mut info = DriverInfo { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
    request(interface, &mut info).map_err(|source| NetError::Ethtool {
        doing: "reading the driver's name",
        interface: interface.to_owned(),
        source,
    })?;
    let name = info.driver.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Whether an offload is on.
///
/// # Errors
/// [`NetError::Ethtool`].
pub fn is_on(interface: &str, offload: Offload) -> Result<bool> {
    let (get, _) = offload.requests();
    let answer = value(interface, get, 0).map_err(|source| NetError::Ethtool {
        doing: "reading an offload",
        interface: interface.to_owned(),
        source,
    })?;
    Ok(answer & offload.mask() != 0)
}

/// Switches an offload, if it isn't so already.
///
/// # Errors
/// [`NetError::Ethtool`]; a driver that can't switch it answers "operation not supported".
pub fn switch(interface: &str, offload: Offload, on: bool) -> Result<()> {
    if is_on(interface, offload)? == on {
        return Ok(());
    }
    let (get, set) = offload.requests();
    let write = || -> io::Result<()> {
        let others = value(interface, get, 0)? & !offload.mask();
        let wanted = if on { offload.mask() } else { 0 };
        let data = if offload == Offload::RxVlan { others | wanted } else { u32::from(on) };
        value(interface, set, data).map(drop)
    };
    write().map_err(|source| NetError::Ethtool {
        doing: if on { "switching an offload on" } else { "switching an offload off" },
        interface: interface.to_owned(),
        source,
    })
}

impl Offload {
    fn requests(self) -> (u32, u32) {
        match self {
            Self::TxChecksum => (0x16, 0x17),
            Self::Gro => (0x2b, 0x2c),
            Self::RxVlan => (GET_FLAGS, SET_FLAGS),
        }
    }

    fn mask(self) -> u32 {
        match self {
            Self::TxChecksum | Self::Gro => u32::MAX,
            Self::RxVlan => FLAG_RX_VLAN,
        }
    }
}

fn value(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command, data };
    request(interface, &mut value)?;
    Ok(value.data)
}

/// Performs one ethtool request whose structure begins with its command and is as long as that command expects.
#[expect(unsafe_code, reason = "ethtool is an ioctl with a pointer inside its argument")]
fn request<T>(interface: &str, argument: &mut T) -> io::Result<()> {
    let name = interface.as_bytes();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: ifreq is made of integers, byte arrays and raw pointers, for all of which zero is a value.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ifreq.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_data = std::ptr::from_mut(argument).cast();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: the kernel reads `ifreq`, then reads and writes at most the structure of the command that `argument`
    // begins with. This function is private; its callers pass exactly that structure, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
