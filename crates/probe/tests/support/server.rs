//! Real servers from the distribution's packages, each in a folder of its own on a port of the loopback.
use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that is free. It is below those that the kernel gives out, and given to nobody else in this process, so that
/// nothing takes it before the server that it is for.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let count = std::process::id() * 32 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (count % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A program that runs until this is dropped.
pub struct Server {
    child: Child,
    pub folder: tempfile::TempDir,
}

impl Server {
    /// Starts a program. A test that can't run says which package it needs.
    pub fn start(command: &mut Command, package: &str, folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("output.log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (install the package {package})"));
        Self { child, folder }
    }

    /// Waits until it accepts connections.
    pub fn wait_for(&mut self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "not started: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output.log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > Duration::from_secs(5) {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
