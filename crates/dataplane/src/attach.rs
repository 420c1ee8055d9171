//! The program on interfaces: attach natively or, with a warning, generically; adopt what is attached already; replace
//! the program under running traffic by one atomic update.
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use keel_abi::{INTERFACE_SLOTS, Interface};

use crate::{
    Dataplane, DataplaneError,
    error::{Context, Result},
    open::{other_layouts, program},
};

/// How the program runs on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel has touched the packet.
    Native,
    /// In the kernel's stack, after it has allocated a buffer: works everywhere, several times slower.
    Generic,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// How it runs.
    pub mode: AttachMode,
    /// The link was there already, only its program was replaced.
    pub adopted: bool,
    /// Why it isn't native, if it isn't.
    pub refused_native: Option<String>,
}

type Cause = Box<dyn Error + Send + Sync>;

impl AttachMode {
    /// As in the pin's name and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn kernel(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

impl Dataplane {
    fn pin_of(&self, ifindex: u32, mode: AttachMode) -> PathBuf {
        pin_in(&self.root, ifindex, mode)
    }

    /// Lets packets arrive on and leave by an interface, whether or not the program runs there.
    ///
    /// # Errors
    /// The interface's slot is taken by another live interface, or a map can't be written.
    pub fn know_interface(&mut self, name: &str, ifindex: u32, mac: [u8; 6]) -> Result<()> {
        let slot = ifindex % INTERFACE_SLOTS;
        let old = self.maps.interfaces.get(&slot, 0).context("reading", "INTERFACES")?;
        if old.ifindex != 0 && old.ifindex != ifindex && nix::net::if_::if_indextoname(old.ifindex).is_ok() {
            return Err(DataplaneError::InterfaceSlot {
                interface: name.into(),
                index: ifindex,
                other: old.ifindex,
            });
        }
        let new = Interface { mac: keel_abi::mac(mac), pad: 0, ifindex, pad2: 0 };
        if old != new {
            self.maps.interfaces.set(slot, new, 0).context("writing", "INTERFACES")?;
        }
        let failed = |source| DataplaneError::Port { interface: name.into(), source };
        self.maps.ports.insert(ifindex, ifindex, None, 0).map_err(failed)
    }

    /// Runs the program on an interface: in the mode wanted, or without a wish natively if possible and generically if
    /// not. An attachment an earlier process left, of whatever version, gets this program in one atomic step.
    ///
    /// # Errors
    /// No permitted way is possible.
    pub fn attach(&mut self, name: &str, ifindex: u32, want: Option<AttachMode>) -> Result<Attached> {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            if want.is_none_or(|want| want == mode) && self.adopt(ifindex, mode)? {
                return Ok(Attached { mode, adopted: true, refused_native: None });
            }
        }
        // One way at a time: a link in the other mode would be in the way.
        self.detach(ifindex)?;
        let first = want.unwrap_or(AttachMode::Native);
        match self.attach_new(ifindex, first) {
            Ok(()) => Ok(Attached { mode: first, adopted: false, refused_native: None }),
            Err(cause) if want.is_none() => {
                let refused = innermost(&*cause);
                self.attach_new(ifindex, AttachMode::Generic).map_err(|cause| failed(name, cause))?;
                Ok(Attached { mode: AttachMode::Generic, adopted: false, refused_native: Some(refused) })
            }
            Err(cause) => Err(failed(name, cause)),
        }
    }

    fn attach_new(&mut self, ifindex: u32, mode: AttachMode) -> std::result::Result<(), Cause> {
        let pin = self.pin_of(ifindex, mode);
        let program = program(&mut self.ebpf, "keel")?;
        let id = program.attach_to_if_index(ifindex, mode.kernel())?;
        let link = program.take_link(id)?;
        // A netlink attachment can't be pinned and would go with this process.
        let link = FdLink::try_from(link).map_err(|_| "this kernel has no XDP links (needs 5.9 or later)")?;
        link.pin(&pin)?;
        Ok(())
    }

    /// Puts this program in place of the one that an earlier process attached. False if there is none, or if its
    /// interface is gone.
    fn adopt(&mut self, ifindex: u32, mode: AttachMode) -> Result<bool> {
        let own = self.pin_of(ifindex, mode);
        if self.take_over(&own)? {
            return Ok(true);
        }
        for layout in other_layouts(&self.root)? {
            let pin = pin_in(&layout, ifindex, mode);
            match fs::rename(&pin, &own) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(DataplaneError::Unpin { path: pin, source }),
                Ok(()) => return self.take_over(&own),
            }
        }
        Ok(false)
    }

    /// Puts this program into a pinned link. One whose interface is gone is unpinned.
    fn take_over(&mut self, pin: &Path) -> Result<bool> {
        let Ok(link) = PinnedLink::from_pin(pin) else { return Ok(false) };
        let program = program(&mut self.ebpf, "keel")?;
        let Ok(link) = XdpLink::try_from(FdLink::from(link)) else { return Ok(false) };
        let replaced = match program.attach_to_link(link) {
            // The pin keeps the link; our own handle may go.
            Ok(id) => program.take_link(id).is_ok(),
            Err(_) => false,
        };
        if !replaced {
            unpin(pin.into())?;
        }
        Ok(replaced)
    }

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// The pin can't be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<()> {
        for root in other_layouts(&self.root)?.iter().chain([&self.root]) {
            for mode in [AttachMode::Native, AttachMode::Generic] {
                unpin(pin_in(root, ifindex, mode))?;
            }
        }
        Ok(())
    }

    /// Interfaces the program runs on, by index.
    pub fn attached(&self) -> Vec<(u32, AttachMode)> {
        let Ok(entries) = fs::read_dir(self.root.join("links")) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (index, mode) = name.split_once('-')?;
                let mode = if mode == "native" { AttachMode::Native } else { AttachMode::Generic };
                Some((index.parse().ok()?, mode))
            })
            .collect();
        found.sort_by_key(|(index, _)| *index);
        found
    }
}

/// Pins are named by index: a name may hold a dot, which a bpf file system refuses.
fn pin_in(layout: &Path, ifindex: u32, mode: AttachMode) -> PathBuf {
    layout.join("links").join(format!("{ifindex}-{}", mode.name()))
}

fn failed(interface: &str, source: Cause) -> DataplaneError {
    DataplaneError::Attach { interface: interface.into(), source }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn unpin(pin: PathBuf) -> Result<()> {
    match fs::remove_file(&pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataplaneError::Unpin { path: pin, source })
        }
        _ => Ok(()),
    }
}
