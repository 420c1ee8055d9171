//! The file operations that the store is made of, one method per step that can fail or be the last one.
//!
//! [`RealFs`] is the machine's; tests put one in its place that fills up, breaks or loses power.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// An open file that is written from its end on.
pub trait FsFile {
    /// Appends bytes; on an error any part of them may have been.
    ///
    /// # Errors
    /// A full or broken disk.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits until what was written would survive a power cut.
    ///
    /// # Errors
    /// A broken disk; what was written may be lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Fs {
    /// Its open files.
    type File: FsFile;
    /// Held while a store is open; released when dropped.
    type Lock;

    /// Takes a lock that no other process holds; `None` if one does.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// The whole file.
    ///
    /// # Errors
    /// `NotFound` and the rest.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// `NotFound` and the rest.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The permission bits of a file, `0o600`.
    ///
    /// # Errors
    /// `NotFound` and the rest.
    fn mode(&self, path: &Path) -> io::Result<u32>;
    /// Makes a folder and those above it; one that is there is fine.
    ///
    /// # Errors
    /// A full or read-only disk.
    fn create_dir_all(&self, dir: &Path, mode: u32) -> io::Result<()>;
    /// Makes a file that must not be there yet.
    ///
    /// # Errors
    /// `AlreadyExists` and the rest.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Self::File>;
    /// Opens a file to write at its end, making it if need be.
    ///
    /// # Errors
    /// A full or read-only disk.
    fn append(&self, path: &Path, mode: u32) -> io::Result<Self::File>;
    /// Moves a file or folder in one step; a file in the way is replaced.
    ///
    /// # Errors
    /// A full or read-only disk, a folder in the way.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder would survive a power cut.
    ///
    /// # Errors
    /// A broken disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` and the rest.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder that is empty.
    ///
    /// # Errors
    /// `NotFound` and the rest.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RealFs;

impl FsFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Fs for RealFs {
    type File = File;
    type Lock = File;

    fn lock(&self, path: &Path) -> io::Result<Option<File>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        fs::metadata(path).map(|m| m.mode() & 0o7777)
    }

    fn create_dir_all(&self, dir: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(mode).create(dir)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // The umask may have taken bits away that were meant.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(file)
    }

    fn append(&self, path: &Path, mode: u32) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(mode).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }
}
