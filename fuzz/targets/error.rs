//! Feeds libFuzzer's inputs to the laws of ICMP errors translated and made, and TCP resets. What they are is in `src/error.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::error::check(data));
