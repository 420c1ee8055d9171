//! The programs that a lab starts: which must be installed, where our own ones are, and running them for their result.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{During as _, LabError};

/// Debian's programs, and the packages that have them.
const TOOLS: [(&str, &str); 6] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("iperf3", "iperf3"),
    ("openssl", "openssl"),
];
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// Fails with the package's name if a tool is missing.
pub(crate) fn check_tools() -> Result<(), LabError> {
    for (tool, package) in TOOLS {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
        if !folders.any(|folder| folder.join(tool).is_file()) {
            return Err(LabError::ToolMissing { tool, package });
        }
    }
    Ok(())
}

/// The folder that has `keel-lab` and, once they are built, `keeld` and `keel`: what was asked for, `KEEL_BIN_DIR`, the
/// folder of the running program, or cargo's `release` and `debug` above it.
pub(crate) fn binaries(asked: Option<&Path>) -> Result<PathBuf, LabError> {
    let folders: Vec<PathBuf> = match asked {
        Some(folder) => vec![folder.to_path_buf()],
        None => match std::env::var_os("KEEL_BIN_DIR") {
            Some(folder) => vec![folder.into()],
            None => near_the_running_program(),
        },
    };
    // Processes are started in other folders than this one's: a relative path would mean another place there.
    let here = |folder: &PathBuf| folder.canonicalize().ok().filter(|found| found.join("keel-lab").is_file());
    folders.iter().find_map(here).ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        LabError::ProgramMissing { looked: looked.join(", ") }
    })
}

fn near_the_running_program() -> Vec<PathBuf> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let own = program.parent().map(Path::to_path_buf);
    let target = program.ancestors().find(|folder| folder.join("release").is_dir());
    let built = target.into_iter().flat_map(|folder| [folder.join("release"), folder.join("debug")]);
    own.into_iter().chain(built).collect()
}

/// The PATH inside a node: our programs first, then the caller's, then the system's.
pub(crate) fn path(binaries: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binaries.to_path_buf())
        .chain(std::env::split_paths(&path))
        .chain(SYSTEM_FOLDERS.map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or(path)
}

/// Runs a program to its end, where the calling thread is; an exit status other than 0 is an error with its message.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<(), LabError> {
    feed(program, arguments, "")
}

/// The same, with an input.
pub(crate) fn feed<S: AsRef<OsStr>>(program: &str, arguments: &[S], input: &str) -> Result<(), LabError> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", path(Path::new("/usr/sbin")));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .during(|| format!("starting {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why on its error output.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().during(|| format!("waiting for {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = arguments.iter().map(|word| word.as_ref().to_string_lossy());
    let command = std::iter::once(program.into()).chain(words).collect::<Vec<_>>().join(" ");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = if stderr.trim().is_empty() { output.status.to_string() } else { stderr.trim().to_owned() };
    Err(LabError::Command { command, message })
}
