//! Golden files. `KEEL_GOLDEN=overwrite cargo test -p keel` writes them anew; read the difference
//! before committing it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

/// Compares `actual` with the file, or writes it when `KEEL_GOLDEN=overwrite` is set.
pub(crate) fn assert_golden(path: &Path, actual: &str) {
    let actual: String = actual.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("KEEL_GOLDEN").is_some_and(|value| value == "overwrite") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what is printed now. If the change is meant: KEEL_GOLDEN=overwrite cargo test -p keel\n\
         --- expected\n{expected}\n--- printed\n{actual}",
        path.display()
    );
}

/// A file of this crate's golden folder.
pub(crate) fn golden(name: &str, actual: &str) {
    assert_golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name), actual);
}
