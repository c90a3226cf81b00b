//! `podiam admission-policy`: prints the agent's guards as policies for the API server. Takes the agent's command line, so
//! that both come from the same configuration; asks neither a cluster nor AWS.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use podiam_iam::RoleArn;

use super::{Failure, agent, print};
use crate::app;
use crate::authorize::admission_policies;
use crate::config::{AgentArgs, Config, Discoverable, Program};

pub(super) fn run(args: AgentArgs) -> Result<ExitCode, Failure> {
    let config = args
        .validate(Program::Podiam)
        .map_err(Failure::Configuration)?;
    let ceiling = agent::ceiling(&config)?;
    let (base, default_role) = roles(&config).map_err(Failure::Usage)?;
    let rules = app::decision_rules(&config, base, default_role);
    let mut out = Vec::new();
    for object in admission_policies(&rules, ceiling.as_ref()) {
        let yaml =
            serde_saphyr::to_string(&object).context("the policy cannot be written as YAML")?;
        writeln!(out, "---\n{}", yaml.trim_end())?;
    }
    if out.is_empty() {
        return Err(Failure::Usage(anyhow::anyhow!(
            "--role-sources has no \"pod\": pods name no roles, so there is nothing to refuse"
        )));
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

/// What the agent may discover on its node has to be given here.
pub(super) fn roles(
    config: &Config,
) -> anyhow::Result<(Option<podiam_iam::BaseArn>, Option<RoleArn>)> {
    let base = match &config.roles.base {
        Discoverable::Given(base) => Some(base.clone()),
        Discoverable::Absent => None,
        Discoverable::Discover => {
            bail!("a base ARN that is discovered on a node is not known here: give --base-role-arn")
        }
    };
    let default_role = match &config.roles.default_role {
        Discoverable::Given(value) => Some(
            RoleArn::complete(value, base.as_ref())
                .with_context(|| format!("--default-role={value} cannot be used"))?,
        ),
        Discoverable::Absent => None,
        Discoverable::Discover => {
            bail!(
                "a default role that is discovered on a node is not known here: give --default-role"
            )
        }
    };
    Ok((base, default_role))
}
