//! `podiam agent`: judges the command line and the ceiling's file, then hands the configuration to `app` and waits for it to end.

use std::process::ExitCode;

use super::{Failure, print};
use crate::app;
use crate::authorize::Ceiling;
use crate::config::{AgentArgs, Config, Program};

pub(super) fn run(args: AgentArgs, program: Program) -> Result<ExitCode, Failure> {
    if args.wants_version() {
        print(concat!("podiam ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = args.validate(program).map_err(Failure::Configuration)?;
    let ceiling = ceiling(&config)?;
    app::run(config, ceiling)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads what `--ceiling` names: at the start a bad file is a configuration that is wrong.
pub(super) fn ceiling(config: &Config) -> Result<Option<Ceiling>, Failure> {
    let path = config.roles.ceiling.as_deref();
    path.map(Ceiling::load)
        .transpose()
        .map_err(|error| Failure::Usage(error.into()))
}
