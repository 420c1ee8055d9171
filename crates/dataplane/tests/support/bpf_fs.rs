//! A bpf file system of the test's own.
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A bpf file system of the test's own.
pub struct BpfFs {
    dir: tempfile::TempDir,
}

impl BpfFs {
    pub fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount(Some("bpf"), dir.path(), Some("bpf"), MsFlags::empty(), None::<&str>)
            .expect("mounting a bpf file system needs root");
        std::fs::create_dir(dir.path().join("evenkeel")).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("evenkeel")
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = umount2::<Path>(self.dir.path(), MntFlags::MNT_DETACH);
    }
}
