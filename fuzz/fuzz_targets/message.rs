//! Any bytes, read as a message of the lane.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachetier::fuzz::message(bytes));
