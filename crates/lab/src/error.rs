//! What can go wrong while a lab is made, used or removed.

use std::io;

/// Why a lab could not be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces, veth and XDP need root.
    #[error("a lab needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it with sudo")]
    NotRoot,
    /// A program that the lab starts is not installed.
    #[error("`{tool}` is missing: install it with `apt-get install {package}`")]
    ToolMissing {
        /// The program.
        tool: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// The lab starts copies of `keel-lab`, which is not built.
    #[error("the program keel-lab was not found (looked in {looked}): run `make build`, or set KEEL_BIN_DIR")]
    ProgramMissing {
        /// The folders that were searched.
        looked: String,
    },
    /// The name can't be used.
    #[error("`{prefix}` can't name a lab: use 1 to 32 letters, digits, `-` or `_`")]
    BadPrefix {
        /// What was asked for.
        prefix: String,
    },
    /// Too few or too many servers.
    #[error("a lab has 1 to 99 servers, not {servers}")]
    BadServers {
        /// What was asked for.
        servers: u8,
    },
    /// A lab of this name runs.
    #[error("a lab named `{prefix}` is up already: `keel-lab down --prefix {prefix}` removes it")]
    Exists {
        /// The lab's name.
        prefix: String,
    },
    /// No lab of this name runs.
    #[error("no lab named `{prefix}` is up: `keel-lab list` shows those that are")]
    Unknown {
        /// The lab's name.
        prefix: String,
    },
    /// The lab has no such node.
    #[error("lab `{prefix}` has no node `{node}`; it has {nodes}")]
    NoNode {
        /// The lab's name.
        prefix: String,
        /// What was asked for.
        node: String,
        /// The nodes there are.
        nodes: String,
    },
    /// A program that was to set something up reported a failure.
    #[error("`{command}` failed: {message}")]
    Command {
        /// The command line.
        command: String,
        /// What it wrote, or its exit status.
        message: String,
    },
    /// A service inside the lab did not become ready.
    #[error("{what} did not get ready within {seconds} s{log}")]
    NotReady {
        /// The service and its node.
        what: String,
        /// The patience it was given.
        seconds: u64,
        /// The end of its log, on lines of its own.
        log: String,
    },
    /// One step failed.
    #[error("{step}")]
    Step {
        /// What was being done.
        step: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Says which step an error comes from.
pub(crate) trait During<T> {
    /// Wraps an error with what was being done.
    fn during(self, step: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> During<T> for Result<T, E> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| LabError::Step { step: step(), source: source.into() })
    }
}

impl LabError {
    /// A step that failed for a reason which is no error value.
    pub(crate) fn because(step: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Step { step: step.into(), source: io::Error::other(reason.into()).into() }
    }
}
