//! Whether files that checks refer to have changed.
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The files of secrets, authorities and scripts: which, how long, and when anything about them was changed, text, owner
/// or mode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamp(BTreeMap<PathBuf, (u64, u64, i64, i64)>);

impl Stamp {
    /// As they are now. What can't be looked at isn't there.
    pub(crate) fn of(config_dir: &Path) -> Self {
        let folders = ["secrets", "ca", "checks"].map(|folder| config_dir.join(folder));
        let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let stamp = |entry: fs::DirEntry| {
            // Through a link: it may lead elsewhere than before, or to another text.
            let file = fs::metadata(entry.path()).ok()?;
            Some((entry.path(), (file.ino(), file.size(), file.ctime(), file.ctime_nsec())))
        };
        Self(entries.filter_map(stamp).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_comes_changes_or_goes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secrets/db");
        let mut before = Stamp::of(folder.path());
        assert_eq!(before, Stamp::default());
        let mut changed = |what: &str| {
            let now = Stamp::of(folder.path());
            assert_ne!(now, before, "{what}");
            assert_eq!(now, Stamp::of(folder.path()));
            before = now;
        };
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(&secret, "one").unwrap();
        changed("it came");
        fs::write(&secret, "other").unwrap();
        changed("it was written");
        fs::write(secret.with_extension("new"), "third").unwrap();
        fs::rename(secret.with_extension("new"), &secret).unwrap();
        changed("it was replaced");
        fs::remove_file(&secret).unwrap();
        changed("it went");
    }
}
