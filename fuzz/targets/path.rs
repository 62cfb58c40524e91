//! Paths: canonical is idempotent, neither form climbs, what one refuses the other does too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzz::check_path(data);
    let rooted = [b"/", data].concat();
    fuzz::check_path(&rooted);
});
