//! The number that keys the packet path's hashes, one for each installation: whoever knows it can aim many flows at one
//! server. Made once and kept; which connections go where depends on it.

use std::{io, path::Path};

use crate::{
    AtomicFile,
    error::{Result, StoreError},
    fs::Fs,
};

const FILE: &str = "hash-seed";
const MODE: u32 = 0o600;

/// The seed in the state folder, 16 hexadecimal digits; `None` if there is none yet.
///
/// # Errors
/// [`StoreError::Read`], [`StoreError::Damaged`].
pub fn hash_seed(fs: &impl Fs, state_dir: &Path) -> Result<Option<u64>> {
    let path = state_dir.join(FILE);
    let bytes = match fs.read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| StoreError::Read { path: path.clone(), source })?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let digits = text.trim();
    let seed = if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None };
    match seed.filter(|seed| *seed != 0) {
        Some(seed) => Ok(Some(seed)),
        None => Err(StoreError::Damaged {
            path,
            why: "it should have 16 hexadecimal digits, not all of them zero; remove it for a new seed"
                .into(),
        }),
    }
}

/// Keeps a seed, which is not zero, for good.
///
/// # Errors
/// [`StoreError::Write`].
pub fn keep_hash_seed(fs: &impl Fs, state_dir: &Path, seed: u64) -> Result<()> {
    AtomicFile::on(fs).write(&state_dir.join(FILE), format!("{seed:016x}\n").as_bytes(), MODE)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::RealFs;

    #[test]
    fn a_seed_comes_back_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(hash_seed(&RealFs, dir.path()).unwrap(), None);
        for seed in [1, u64::MAX, 0x0123_4567_89ab_cdef] {
            keep_hash_seed(&RealFs, dir.path(), seed).unwrap();
            assert_eq!(hash_seed(&RealFs, dir.path()).unwrap(), Some(seed));
        }
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "12", "0000000000000000", "0123456789abcdeg", "0123456789abcdef0"] {
            fs::write(dir.path().join(FILE), text).unwrap();
            let error = hash_seed(&RealFs, dir.path()).unwrap_err().to_string();
            assert!(error.contains("hash-seed is damaged"), "{error}");
        }
    }
}
