//! Any bytes, decoded by each codec as one of several types.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachetier::fuzz::codec(bytes));
