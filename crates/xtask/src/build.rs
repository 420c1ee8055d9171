//! `xtask build`: the packet programs, then every program that is shipped or that the lab needs.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, root, run};
use crate::{ebpf, setup};

/// What this machine needs, and the packet programs that the other crates embed.
pub(crate) fn ready() -> Result<()> {
    setup::ensure()?;
    ebpf::build()
}

/// The release binaries.
pub(crate) fn binaries() -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "keel-tests",
        "--bins",
    ]))
}

/// Where they are.
pub(crate) fn release_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from).join("release")
}
