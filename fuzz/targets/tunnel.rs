//! Feeds libFuzzer's inputs to the laws of outer headers. What they are is in `src/tunnel.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::tunnel::check(data));
