//! Feeds libFuzzer's inputs to the laws of HTTP/1.1 messages. What they are is in `src/http1.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keel_fuzz::http1::check(data));
