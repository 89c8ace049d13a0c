//! Any bytes, taken apart as a compressed payload, and compressed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachetier::fuzz::compressed(bytes));
