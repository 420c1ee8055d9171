//! Brings the measuring programs into `OUT_DIR`, from where the crate embeds them. How they are built: `ebpf/README.md`.

use std::path::{Path, PathBuf};
use std::{env, fs};

const OBJECT: &str = "bench.o";

fn main() {
    println!("cargo:rerun-if-env-changed=KEEL_BPF_DIR");
    let folder = env::var_os("KEEL_BPF_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf"), PathBuf::from);
    let object = folder.join(OBJECT);
    println!("cargo:rerun-if-changed={}", object.display());
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default().join(OBJECT);
    if let Err(error) = fs::copy(&object, out) {
        println!(
            "cargo::error=the packet program {} is missing ({error}): run `make build`, or only \
             `cargo run -p xtask -- ebpf`",
            object.display()
        );
    }
}
