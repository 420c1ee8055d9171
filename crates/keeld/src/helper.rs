//! The process that runs scripts: this program once more, as nobody, started before the daemon limits what it and its
//! children may have, and ending with it.
use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use rustix::process::geteuid;
use tracing::warn;

/// The user and group "nobody" (Debian's base-passwd).
const NOBODY: u32 = 65_534;

/// Starts it, and returns the daemon's end of the line to it. Without it scripts can't run, and everything else can.
pub(crate) fn start() -> Option<UnixStream> {
    match try_to_start() {
        Ok(stream) => Some(stream),
        Err(error) => {
            warn!("checks of type script can't be carried out: starting their process: {error}");
            None
        }
    }
}

fn try_to_start() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("keeld-scripts").arg("--serve-scripts").stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.spawn()?;
    Ok(ours)
}

/// Is that process.
pub(crate) fn serve() -> Result<()> {
    crate::privileges::give_up().context("giving privileges up")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_nonblocking(true)?;
        keel_probe::serve_scripts(tokio::net::UnixStream::from_std(stream)?).await
    })?;
    Ok(())
}
