//! The binary: an allocator and a call.

use std::process::ExitCode;

/// Keeps freed memory per thread, as the workers do with everything else.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::machine::allow_low_ports();
    portcullis::cli::main(std::env::args_os())
}
