//! Authorities of the administrator's own.
use std::{fs, path::Path};

use rustls::pki_types::{CertificateDer, pem::PemObject};

/// Bytes of a file at most: more is no file of certificates.
const LARGEST: u64 = 1024 * 1024;

/// Every certificate in the files of a folder, in the order of their names. What isn't one is left out: a channel that
/// needed it says that it can't trust whom it talks to.
#[must_use]
pub fn authorities(folder: &Path) -> Vec<CertificateDer<'static>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    let small = |path: &&std::path::PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= LARGEST)
    };
    let texts = paths.iter().filter(small).filter_map(|path| fs::read(path).ok());
    texts.flat_map(|text| CertificateDer::pem_slice_iter(&text).flatten().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_among_other_files() {
        let folder = std::env::temp_dir().join(format!("keel-alert-authorities-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert;
        let (one, two, three) = (made("one"), made("two"), made("three"));
        fs::write(folder.join("b.pem"), three.pem()).unwrap();
        fs::write(folder.join("a.pem"), one.pem() + &two.pem()).unwrap();
        fs::write(folder.join("README"), "what these are for").unwrap();
        let found = authorities(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, [one.der().clone(), two.der().clone(), three.der().clone()]);
        assert!(authorities(&folder).is_empty(), "no folder, no authorities");
    }
}
