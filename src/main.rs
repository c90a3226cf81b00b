//! The podiam command. Everything it does is in [`podiam::commands`].

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Memory is wiped when it is freed, whoever used it: secrets also pass through the SDK's and hyper's buffers.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    podiam::commands::run(std::env::args_os().collect())
}
