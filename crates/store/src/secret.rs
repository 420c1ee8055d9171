//! Private keys, password hashes and the pair's key: files that nobody else may read.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::{
    AtomicFile,
    atomic::make_folder,
    error::{Result, StoreError},
    fs::{Fs, RealFs},
};

const MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// Bytes that are not for any log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps what must not be shown.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// The folder of secrets, `/etc/evenkeel/secrets`.
#[derive(Debug)]
pub struct Secrets<F: Fs = RealFs> {
    fs: F,
    dir: PathBuf,
}

impl<F: Fs> Secrets<F> {
    /// Opens or makes the folder below `config_dir` and removes what interrupted writes left.
    ///
    /// # Errors
    /// [`StoreError::Write`], [`StoreError::Read`].
    pub fn open(fs: F, config_dir: &Path) -> Result<Self> {
        let dir = config_dir.join("secrets");
        make_folder(&fs, &dir, DIR_MODE)?;
        AtomicFile::on(&fs).clean(&dir)?;
        Ok(Self { fs, dir })
    }

    /// Writes a secret in place of the former one.
    ///
    /// # Errors
    /// [`StoreError::SecretName`], [`StoreError::Write`].
    pub fn write(&self, name: &str, secret: &Secret) -> Result<()> {
        AtomicFile::on(&self.fs).write(&self.path(name)?, secret.expose(), MODE)
    }

    /// Reads a secret; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`StoreError::SecretExposed`] when others may read it: it is a secret no more, and using it would hide that.
    pub fn read(&self, name: &str) -> Result<Option<Secret>> {
        let path = self.path(name)?;
        let failed = |source| StoreError::Read { path: path.clone(), source };
        let mode = match self.fs.mode(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        if mode & OTHERS != 0 {
            return Err(StoreError::SecretExposed { path, mode });
        }
        self.fs.read(&path).map_err(failed).map(|bytes| Some(Secret(bytes)))
    }

    /// Removes a secret; one that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::SecretName`], [`StoreError::Write`].
    pub fn remove(&self, name: &str) -> Result<()> {
        AtomicFile::on(&self.fs).remove(&self.path(name)?)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
            return Err(StoreError::SecretName(name.to_owned()));
        }
        Ok(self.dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_secret_round_trips_and_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(RealFs, dir.path()).unwrap();
        assert_eq!(secrets.read("pair.key").unwrap(), None);
        secrets.write("pair.key", &Secret::new("hush")).unwrap();
        assert_eq!(secrets.read("pair.key").unwrap().unwrap().expose(), b"hush");
        let mode = |path: &Path| RealFs.mode(path).unwrap();
        assert_eq!(mode(&dir.path().join("secrets/pair.key")), 0o600);
        assert_eq!(mode(&dir.path().join("secrets")), 0o700);
        secrets.remove("pair.key").unwrap();
        assert_eq!(secrets.read("pair.key").unwrap(), None);
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(RealFs, dir.path()).unwrap();
        secrets.write("key", &Secret::new("hush")).unwrap();
        let path = dir.path().join("secrets/key");
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = secrets.read("key").unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(RealFs, dir.path()).unwrap();
        for name in ["", ".", "..", "../cluster.toml", "a/b", ".hidden", "a b", "é"] {
            assert!(matches!(secrets.read(name), Err(StoreError::SecretName(_))), "{name}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(4 bytes)");
    }
}
