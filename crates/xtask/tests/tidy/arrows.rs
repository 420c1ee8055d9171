//! Arrows point from vocabulary to decisions to hands to faces to the whole, never back.

use crate::metadata::Metadata;

/// Each crate, and which of ours it may use. A new crate gets its line here.
const ARROWS: [(&str, &[&str]); 16] = [
    ("keel-abi", &[]),
    ("keel-model", &[]),
    ("keel-pool", &["keel-model"]),
    ("keel-http1", &[]),
    ("keel-net", &[]),
    ("keel-store", &["keel-model"]),
    ("keel-alert", &["keel-model"]),
    ("keel-probe", &["keel-abi", "keel-model", "keel-pool", "keel-net"]),
    ("keel-dataplane", &["keel-abi", "keel-model", "keel-pool", "keel-net"]),
    ("keel-api", &["keel-model"]),
    ("keel", &["keel-model", "keel-api"]),
    (
        "keeld",
        &[
            "keel-abi",
            "keel-model",
            "keel-pool",
            "keel-net",
            "keel-store",
            "keel-alert",
            "keel-probe",
            "keel-dataplane",
            "keel-api",
        ],
    ),
    ("keel-lab", &["keel-net"]),
    ("xtask", &[]),
    ("keel-benches", ANYTHING),
    ("keel-tests", ANYTHING),
];
const ANYTHING: &[&str] = &["*"];
/// What any crate may use in its tests besides.
const FOR_TESTS: &str = "keel-lab";
/// These decide, or are what decisions are about: they reach neither the kernel nor a network.
const PURE: [&str; 4] = ["keel-abi", "keel-model", "keel-pool", "keel-http1"];
const HANDS: [&str; 8] = ["tokio", "nix", "socket2", "aya", "hyper", "libc", "rtnetlink", "mio"];

#[test]
fn crates_use_only_what_is_below_them() {
    let metadata = Metadata::of("Cargo.toml");
    for package in metadata.members() {
        let name = package.name();
        let row = ARROWS.iter().find(|(of, _)| *of == name);
        let (_, allowed) =
            row.unwrap_or_else(|| panic!("{name} has no line in ARROWS: which crates may it use?"));
        for dependency in package.dependencies().filter(|dependency| dependency.ours) {
            let target = dependency.name.as_str();
            let for_tests = dependency.kind == "dev" && (target == FOR_TESTS || target == name);
            let fine = for_tests || *allowed == ANYTHING || allowed.contains(&target);
            assert!(fine, "{name} may not use {target}: it is not below it");
        }
    }
}

#[test]
fn deciding_crates_bring_no_input_or_output_along() {
    let metadata = Metadata::of("Cargo.toml");
    for name in PURE {
        let package = metadata.members().find(|package| package.name() == name).unwrap();
        let tree = metadata.tree(&package);
        let hands: Vec<&str> = HANDS.into_iter().filter(|hand| tree.contains(*hand)).collect();
        assert!(hands.is_empty(), "{name} brings {hands:?} along");
    }
}

#[test]
fn a_crates_folder_is_its_name() {
    for package in Metadata::of("Cargo.toml").members() {
        let name = package.name();
        let short = name.strip_prefix("keel-").unwrap_or(name);
        let at_the_top = ["tests", "benches"].contains(&short);
        let expected = if at_the_top { short.to_owned() } else { format!("crates/{short}") };
        assert_eq!(package.folder().to_str().unwrap(), expected, "the folder of {name}");
    }
}
