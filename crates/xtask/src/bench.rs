//! `xtask bench`: fresh release binaries, then `keel-bench`, which writes `docs/benchmarks.md` and the data beside it.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, release_folder};
use crate::command::{root, run};

/// Takes about a quarter of an hour. Ahead of others on the machine as far as that goes: they are in the figures.
pub(crate) fn measure() -> Result<()> {
    build::ready()?;
    build::binaries()?;
    let mut bench = Command::new("nice");
    bench.args(["-n", "-15"]).arg(release_folder().join("keel-bench"));
    bench.env("KEEL_BIN_DIR", release_folder()).arg("--out").arg(root().join("docs"));
    run(&mut bench)
}
