//! Replacing a file so that a reader, a crash or a full disk sees the old content or the new, never a part.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::{Result, StoreError},
    fs::{Fs, FsFile},
};

/// What the name of an unfinished file ends with. It begins with a dot.
const UNFINISHED: &str = ".new";

/// Writes whole files: temporary file in the same folder, fsync, rename, fsync of the folder.
#[derive(Debug)]
pub struct AtomicFile<'fs, F: Fs> {
    fs: &'fs F,
}

impl<'fs, F: Fs> AtomicFile<'fs, F> {
    /// On this file system.
    pub fn on(fs: &'fs F) -> Self {
        Self { fs }
    }

    /// Puts `bytes` in place of what `path` had. One writer per path at a time.
    ///
    /// # Errors
    /// [`StoreError::Write`]. The old content is then still there, except when the last fsync failed: then either is.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.steps(path, bytes, mode).map_err(|source| StoreError::Write { path: path.to_owned(), source })
    }

    fn steps(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let unfinished = unfinished(path);
        if let Err(error) = self.fill(&unfinished, bytes, mode) {
            // On a full disk, don't keep what filled it. If this fails too, the next opening does it.
            let _ = self.fs.remove_file(&unfinished);
            return Err(error);
        }
        self.fs.rename(&unfinished, path)?;
        self.fs.sync_dir(folder(path))
    }

    fn fill(&self, unfinished: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = match self.fs.create(unfinished, mode) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.fs.remove_file(unfinished)?;
                self.fs.create(unfinished, mode)?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        file.sync()
    }

    /// Removes a file for good; one that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn remove(&self, path: &Path) -> Result<()> {
        let removed = match self.fs.remove_file(path) {
            // It may be gone and not yet gone for good: a former removal may have failed halfway.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        removed
            .and_then(|()| self.fs.sync_dir(folder(path)))
            .map_err(|source| StoreError::Write { path: path.to_owned(), source })
    }

    /// Removes what interrupted writes left in a folder; says how many files.
    ///
    /// # Errors
    /// [`StoreError::Read`] when the folder cannot be listed. A file that can't be removed is left.
    pub fn clean(&self, dir: &Path) -> Result<usize> {
        let names = self.fs.list(dir).map_err(|source| StoreError::Read { path: dir.to_owned(), source })?;
        let leftovers = names.iter().filter(|name| name.starts_with('.') && name.ends_with(UNFINISHED));
        Ok(leftovers.filter(|name| self.fs.remove_file(&dir.join(name)).is_ok()).count())
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder(path).join(format!(".{name}{UNFINISHED}"))
}

/// Makes a folder and those above it, so that they last. A power cut may find one that an earlier process made and did
/// not get to sync, so this syncs them all every time; above the folder's own parent, as far as we may.
pub(crate) fn make_folder(fs: &impl Fs, dir: &Path, mode: u32) -> Result<()> {
    let made = fs.create_dir_all(dir, mode).and_then(|()| fs.sync_dir(folder(dir)));
    made.map_err(|source| StoreError::Write { path: dir.to_owned(), source })?;
    for above in dir.ancestors().skip(2).filter(|path| !path.as_os_str().is_empty()) {
        let _ = fs.sync_dir(above);
    }
    Ok(())
}

pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::RealFs;

    #[test]
    fn a_file_is_replaced_whole_with_the_mode_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        let file = AtomicFile::on(&RealFs);
        file.write(&path, b"one", 0o640).unwrap();
        file.write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(RealFs.mode(&path).unwrap(), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_an_interrupted_write_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        fs::write(unfinished(&path), "half").unwrap();
        fs::write(dir.path().join(".hidden"), "the administrator's").unwrap();
        let file = AtomicFile::on(&RealFs);
        file.write(&path, b"whole", 0o600).unwrap();
        fs::write(unfinished(&path), "half").unwrap();
        assert_eq!(file.clean(dir.path()).unwrap(), 1);
        let mut names = RealFs.list(dir.path()).unwrap();
        names.sort();
        assert_eq!(names, [".hidden", "cluster.toml"]);
    }

    #[test]
    fn an_error_names_the_file_not_its_temporary() {
        let error = AtomicFile::on(&RealFs).write(Path::new("/proc/no/where"), b"", 0o600).unwrap_err();
        assert_eq!(error.to_string(), "writing /proc/no/where");
    }
}
