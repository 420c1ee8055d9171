//! A lab's life: made as a whole or not at all, used, removed.

mod up;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::error::{During as _, LabError};
use crate::programs;
use crate::state::State;

/// What a lab is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name; labs of different names don't touch each other.
    pub prefix: String,
    /// How many real servers it has, 1 to 99.
    pub servers: u8,
    /// Whether the balancers run an appliance, if one is built. Bare ones only forward.
    pub appliance: bool,
    /// The folder of `keel-lab`, `keeld` and `keel`; found by itself if not given.
    pub binaries: Option<PathBuf>,
    /// Whether it outlives the process that makes it.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: "keel".to_owned(), servers: 3, appliance: true, binaries: None, keep: false }
    }
}

/// A lab that is up. One that was made without [`Options::keep`] is removed when this is dropped.
#[derive(Debug)]
pub struct Lab {
    state: State,
    /// What was started in it from here, to be collected when it ends.
    children: Vec<Child>,
    removes: bool,
}

impl Lab {
    /// Finds a lab that is up, for use; dropping it changes nothing.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn open(prefix: &str) -> Result<Self, LabError> {
        Ok(Self { state: State::load(prefix)?, children: Vec::new(), removes: false })
    }

    /// What it consists of.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Runs a program inside a node to its end, and returns what it wrote. Any exit status is fine.
    ///
    /// # Errors
    /// If there is no such node, or the program can't be started.
    pub fn exec(&self, node: &str, command: &[&str]) -> Result<Output, LabError> {
        self.within(node, || {
            let mut program = self.command(command)?;
            program
                .stdin(Stdio::null())
                .output()
                .during(|| format!("running {} on {node}", command.join(" ")))
        })
    }

    /// Starts a program inside a node, with its input and output as pipes. Ending the lab ends it.
    ///
    /// # Errors
    /// If there is no such node, or the program can't be started.
    pub fn spawn(&self, node: &str, command: &[&str]) -> Result<Child, LabError> {
        self.within(node, || {
            let mut program = self.command(command)?;
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            program.spawn().during(|| format!("starting {} on {node}", command.join(" ")))
        })
    }

    /// Runs code inside a node, on a thread of its own: its sockets, `/sys/fs/bpf` and `/etc/evenkeel` are the node's.
    ///
    /// # Errors
    /// If there is no such node or it can't be entered, or what `work` returns.
    pub fn within<T: Send>(
        &self,
        node: &str,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        self.state.node(node)?.namespaces()?.within(work)
    }

    /// Turns the calling process into a program inside a node. Returns only if that fails.
    pub fn become_program(&self, node: &str, command: &[String]) -> LabError {
        let folder = std::env::current_dir();
        let enter = || {
            self.state.node(node)?.namespaces()?.enter()?;
            // The folder may not exist in the node; its root is where it starts then.
            let _ = folder.map(std::env::set_current_dir);
            self.command(command)
        };
        match enter() {
            Ok(mut program) => {
                let error = program.exec();
                LabError::because(format!("starting {} on {node}", command.join(" ")), error.to_string())
            }
            Err(error) => error,
        }
    }

    /// Removes the lab: every process in it, its namespaces and its files.
    ///
    /// # Errors
    /// If a process can't be ended or a file can't be removed.
    pub fn down(mut self) -> Result<(), LabError> {
        self.removes = false;
        self.remove()
    }

    fn remove(&mut self) -> Result<(), LabError> {
        let removed = self.state.remove();
        for child in &mut self.children {
            // Its exit status says nothing: it was ended.
            let _ = child.kill();
            let _ = child.wait();
        }
        removed
    }

    fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Command, LabError> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| LabError::because("starting a program", "none was named"))?;
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", programs::path(&self.state.binaries));
        Ok(command)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.removes {
            // Whoever wants to know calls `down`.
            let _ = self.remove();
        }
    }
}
