//! The lab that the demo plays in: `keel-lab` in the foreground, which removes it when it ends or is told to.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::build::release_folder;

/// The lab's name.
pub(crate) const PREFIX: &str = "demo";

pub(crate) struct Stage {
    lab: Child,
}

impl Stage {
    /// Brings the pair up and returns when all of it answers.
    pub(crate) fn set() -> Result<Self> {
        let mut lab = Command::new(release_folder().join("keel-lab"))
            .args(["up", "--topology", "pair", "--servers", "3", "--foreground", "--prefix", PREFIX])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting target/release/keel-lab")?;
        let output = lab.stdout.take().context("reading what keel-lab says")?;
        for line in BufReader::new(output).lines() {
            let line = line.context("reading what keel-lab says")?;
            if line.starts_with("ready") {
                return Ok(Self { lab });
            }
            println!("  {line}");
        }
        bail!("the lab did not come up: {}", lab.wait()?)
    }

    /// Stays until the lab ends, which Ctrl-C makes it do.
    pub(crate) fn stay(mut self) -> Result<()> {
        self.lab.wait().context("waiting for keel-lab")?;
        Ok(())
    }

    /// Removes the lab.
    pub(crate) fn strike(mut self) -> Result<()> {
        let pid = self.lab.id().to_string();
        Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().context("ending the lab")?;
        let status = self.lab.wait().context("waiting for keel-lab")?;
        if !status.success() {
            bail!("keel-lab could not remove the lab: {status}");
        }
        Ok(())
    }
}

/// A command inside a node, ready to start.
pub(crate) fn inside(node: &str, words: &[&str]) -> Command {
    let mut command = Command::new(release_folder().join("keel-lab"));
    command.args(["exec", "--prefix", PREFIX, node, "--"]).args(words).stdin(Stdio::null());
    command
}

/// What a command inside a node writes; its failure is an error with its message.
pub(crate) fn ask(node: &str, words: &[&str]) -> Result<String> {
    let line = words.join(" ");
    let Output { status, stdout, stderr } =
        inside(node, words).output().with_context(|| format!("running `{line}` on {node}"))?;
    if !status.success() {
        bail!("`{line}` on {node}: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
