//! The folders that a node has to itself: `/etc` and `/var/lib` (what the machine has, with changes of its own), `/run` (empty),
//! `/sys` (for its network namespace) and `/sys/fs/bpf` (empty). All of it goes with the mount namespace.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::error::{During as _, LabError};

/// The folders of the appliance, contract of the design.
const APPLIANCE: [&str; 3] = ["/etc/evenkeel", "/var/lib/evenkeel", "/run/evenkeel"];

/// Gives the calling thread's new mount namespace its own folders.
pub(crate) fn make_private() -> Result<(), LabError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .during(|| "keeping the node's mounts to itself".to_owned())?;
    attach("tmpfs", "/run", "mode=755")?;
    for folder in ["/etc", "/var/lib"] {
        overlay(folder)?;
    }
    attach("sysfs", "/sys", "")?;
    attach("bpf", "/sys/fs/bpf", "")?;
    for folder in APPLIANCE {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).during(|| format!("creating {folder}"))?;
    }
    Ok(())
}

/// Lays a writable layer over a folder, so that nothing the node writes reaches the machine's own.
fn overlay(folder: &str) -> Result<(), LabError> {
    let layer = Path::new("/run/.layers").join(folder.trim_start_matches('/').replace('/', "-"));
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    for part in [&upper, &work] {
        fs::create_dir_all(part).during(|| format!("creating {}", part.display()))?;
    }
    let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
    attach("overlay", folder, &options)
}

fn attach(kind: &str, folder: &str, options: &str) -> Result<(), LabError> {
    mount(Some("keel-lab"), folder, Some(kind), MsFlags::empty(), Some(options))
        .during(|| format!("mounting {kind} on the node's {folder}"))
}
