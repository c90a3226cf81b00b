//! The podiam command. Everything it does is in [`podiam::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    podiam::commands::run(std::env::args_os().collect())
}
