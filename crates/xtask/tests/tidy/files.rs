//! How files look: sizes, first lines, where `unsafe` stands, and nothing of the machine they were written on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::metadata::root;

const LONGEST: usize = 600;
/// Folders whose files are made by a tool, or are none of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", ".cache"];
/// The only places where `unsafe` may stand.
const UNSAFE: [&str; 3] = ["crates/abi", "crates/net", "ebpf"];

/// All files of the repository, from the top folder.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !skipped => folders.push(entry.path()),
                kind if kind.is_file() && !skipped => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.iter().map(|file| file.strip_prefix(root()).unwrap().to_path_buf()).collect()
}

/// The Rust sources with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs"));
    rust.map(|file| (file.clone(), fs::read_to_string(root().join(&file)).unwrap())).collect()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

#[test]
fn every_source_begins_with_what_it_does() {
    let silent = |(file, text): &(PathBuf, String)| (!text.starts_with("//! ")).then(|| shown(file));
    let found: Vec<String> = sources().iter().filter_map(silent).collect();
    none("files that don't begin with a `//!` line", &found);
}

#[test]
fn no_source_is_too_long() {
    let long = |(file, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        (lines > LONGEST).then(|| format!("{} has {lines} lines", shown(file)))
    };
    let found: Vec<String> = sources().iter().filter_map(long).collect();
    none("files to split", &found);
}

#[test]
fn unsafe_stands_only_where_it_may() {
    // In two parts, so that this file is not found itself.
    let forms = [" {", " impl", " fn", " extern", " trait", "(", "_code"].map(|rest| format!("unsafe{rest}"));
    let mut found = Vec::new();
    for (file, text) in sources() {
        if UNSAFE.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if forms.iter().any(|form| code.contains(form.as_str())) {
                found.push(format!("{}:{}", shown(&file), number + 1));
            }
        }
    }
    none("unsafe code outside abi, net and ebpf", &found);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let manifests = files().into_iter().filter(|file| {
        let depth = file.components().count();
        file.ends_with("Cargo.toml") && depth > 1 && !file.starts_with("ebpf")
    });
    let careless = |file: &PathBuf| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        !text.contains("[lints]\nworkspace = true")
    };
    let found: Vec<String> = manifests.filter(careless).map(|file| shown(&file)).collect();
    none("crates without `[lints] workspace = true`", &found);
}

#[test]
fn no_file_names_a_folder_of_somebodys_machine() {
    // In two parts, so that this file doesn't name them itself.
    let folders =
        [["/wo", "rk/"], ["/ro", "ot/"], ["/tmp/", "plan"], ["/home", "/"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for file in files() {
        // What is not text can't name a folder by accident.
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if folders.iter().any(|folder| line.contains(folder.as_str())) {
                found.push(format!("{}:{}", shown(&file), number + 1));
            }
        }
    }
    none("paths of a machine", &found);
}
