//! podiam's chores: `cargo xtask demo | test | bench`. Each has a file of its own; this one only dispatches.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to a person at a terminal is what xtask does")]

mod demo;
mod progress;

use std::process::ExitCode;

use clap::Parser;

/// podiam's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
enum Xtask {
    /// Shows podiam at work on this machine: no cluster, no AWS account, nothing outside the demo is touched
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Demo(args) => demo::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
