//! Calls and replies: see `testyard_am::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| testyard_am::fuzzing::xmlrpc(data));
