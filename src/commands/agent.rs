//! `podiam agent`: judges the command line, then hands the configuration to `app` and waits for it to end.

use std::process::ExitCode;

use super::{Failure, print};
use crate::config::{AgentArgs, Config, Program};

pub(super) fn run(args: AgentArgs, program: Program) -> Result<ExitCode, Failure> {
    if args.wants_version() {
        print(concat!("podiam ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.validate(program).map_err(Failure::Configuration)?;
    start(config)
}

fn start(_config: Config) -> Result<ExitCode, Failure> {
    Err(anyhow::anyhow!("crate::app::run is not connected on this branch").into())
}
