//! Feeds libFuzzer's inputs to the laws of the parser, and addresses and ports rewritten. What they are is in `src/packet.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::packet::check(data));
