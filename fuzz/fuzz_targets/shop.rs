#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| corduroy_node::testing::fuzz::shop(data));
