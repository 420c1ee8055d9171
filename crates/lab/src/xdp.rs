//! Attaches the lab's packet programs, from inside the node whose interface it is. The links are pinned in the
//! node's own `/sys/fs/bpf`, so they live as long as the node.

use std::fs;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::error::{During as _, LabError};
use crate::plan::Link;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lab.o"));
const PINS: &str = "/sys/fs/bpf/lab";

/// Attaches `pass` to switch ports. What a packet program sends out of a veth (XDP_TX, XDP_REDIRECT) arrives only if
/// the other end has a program in native mode too.
pub(crate) fn pass_on(ports: &[String]) -> Result<(), LabError> {
    let mut object =
        EbpfLoader::new().load(OBJECT).during(|| "loading the lab's packet programs".to_owned())?;
    attach(&mut object, "pass", ports)
}

/// Attaches `decap` to a server's interface, for tunnel packets to the addresses it has there.
pub(crate) fn decap_on(link: &Link) -> Result<(), LabError> {
    let ipv4 = u32::from_ne_bytes(link.ipv4.octets());
    let ipv6 = link.ipv6.octets();
    let mut object = EbpfLoader::new()
        .override_global("LOCAL4", &ipv4, true)
        .override_global("LOCAL6", &ipv6, true)
        .load(OBJECT)
        .during(|| "loading the lab's packet programs".to_owned())?;
    attach(&mut object, "decap", std::slice::from_ref(&link.device))
}

/// Attaches `reflect` to an interface of the calling thread's node: it answers IPv4 datagrams to port 7 by XDP_TX. Tests use
/// it to see whether what a packet program sends arrives, benches as the least that a program can cost.
///
/// # Errors
/// If there is no such interface, or it has a program already.
pub fn reflect_on(device: &str) -> Result<(), LabError> {
    let mut object =
        EbpfLoader::new().load(OBJECT).during(|| "loading the lab's packet programs".to_owned())?;
    attach(&mut object, "reflect", &[device.to_owned()])
}

fn attach(object: &mut Ebpf, name: &str, devices: &[String]) -> Result<(), LabError> {
    let program = object.program_mut(name).ok_or_else(|| LabError::because(name, "not in the object"))?;
    let program: &mut Xdp = program.try_into().during(|| format!("taking {name} as an XDP program"))?;
    program.load().during(|| format!("loading the packet program {name}"))?;
    fs::create_dir_all(PINS).during(|| format!("creating {PINS}"))?;
    for device in devices {
        pin(program, device).during(|| format!("attaching {name} to {device}"))?;
    }
    Ok(())
}

fn pin(program: &mut Xdp, device: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let id = program.attach(device, XdpMode::Driver)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    // bpffs refuses names with dots, which no interface of a lab has.
    link.pin(Path::new(PINS).join(device))?;
    Ok(())
}
