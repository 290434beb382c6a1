#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| testyard_images::fuzzing::prepare(data));
