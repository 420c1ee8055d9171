//! Every dependency may be used under terms that go with ours.

use crate::metadata::Metadata;

const ALLOWED: [&str; 16] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression leaves a choice that is allowed. OR binds less than AND, which binds less than WITH.
fn is_allowed(expression: &str) -> bool {
    // Some old packages write a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    either(&mut rest) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> bool {
    let mut allowed = both(rest);
    while take(rest, "OR") {
        allowed |= both(rest);
    }
    allowed
}

fn both(rest: &mut &[&str]) -> bool {
    let mut allowed = one(rest);
    while take(rest, "AND") {
        allowed &= one(rest);
    }
    allowed
}

fn one(rest: &mut &[&str]) -> bool {
    if take(rest, "(") {
        let allowed = either(rest);
        return take(rest, ")") && allowed;
    }
    let Some((name, others)) = rest.split_first() else { return false };
    *rest = others;
    if take(rest, "WITH") {
        let Some((exception, others)) = rest.split_first() else { return false };
        *rest = others;
        return ALLOWED.contains(&format!("{name} WITH {exception}").as_str());
    }
    ALLOWED.contains(name)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let found = rest.first() == Some(&word);
    if found {
        *rest = &rest[1..];
    }
    found
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    assert!(is_allowed("MIT OR GPL-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0"));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(is_allowed("GPL-2.0 OR Apache-2.0 WITH LLVM-exception AND ISC"));
    assert!(!is_allowed("Apache-2.0 WITH Classpath-exception-2.0"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(!is_allowed(""));
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    for manifest in ["Cargo.toml", "ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        for package in Metadata::of(manifest).packages() {
            let (name, licence) = (package.name(), package.licence());
            assert!(is_allowed(licence), "{name} ({manifest}) is under `{licence}`");
        }
    }
}
