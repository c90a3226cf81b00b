//! `podiam agent`: judges the command line, then hands the configuration to `app` and waits for it to end.

use std::process::ExitCode;

use super::{Failure, print};
use crate::app;
use crate::config::{AgentArgs, Program};

pub(super) fn run(args: AgentArgs, program: Program) -> Result<ExitCode, Failure> {
    if args.wants_version() {
        print(concat!("podiam ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.validate(program).map_err(Failure::Configuration)?;
    app::run(config)?;
    Ok(ExitCode::SUCCESS)
}
