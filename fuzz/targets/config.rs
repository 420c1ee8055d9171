//! Feeds libFuzzer's inputs to the laws of configuration files. What they are is in `src/config.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::config::check(data));
