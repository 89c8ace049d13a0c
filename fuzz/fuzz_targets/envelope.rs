//! Any bytes, read as a value of the shared tier.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachetier::fuzz::envelope(bytes));
