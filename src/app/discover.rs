//! What is asked of the real metadata service before the agent can decide anything: the base ARN and the default role,
//! where the operator wants them discovered.

use std::time::Duration;

use podiam_iam::{BaseArn, RoleArn};
use tokio::time::sleep;

use super::AppError;
use crate::authorize::Rules;
use crate::config::{Config, Discoverable};
use crate::lifecycle::Condition;
use crate::telemetry::Chain;
use crate::upstream::{Upstream, UpstreamError};

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// The rules of decision, with what the real metadata service has to be asked for. Asks until it answers.
pub(super) async fn rules(
    config: &Config,
    upstream: &Upstream,
    condition: &Condition,
) -> Result<Rules, AppError> {
    let base = match &config.roles.base {
        Discoverable::Absent => None,
        Discoverable::Given(base) => Some(base.clone()),
        Discoverable::Discover => Some(insist(condition, "base ARN", || upstream.base_arn()).await),
    };
    let default_role = match &config.roles.default_role {
        Discoverable::Absent => None,
        Discoverable::Given(role) => Some(role.clone()),
        Discoverable::Discover => {
            Some(insist(condition, "default role", || upstream.node_role_name()).await)
        }
    };
    let default_role = default_role
        .map(|value| {
            RoleArn::complete(&value, base.as_ref())
                .map_err(|source| AppError::DefaultRole { value, source })
        })
        .transpose()?;
    condition.met();
    Ok(decision_rules(config, base, default_role))
}

/// The rules of decision, once it is known what has to be discovered.
pub(crate) fn decision_rules(
    config: &Config,
    base: Option<BaseArn>,
    default_role: Option<RoleArn>,
) -> Rules {
    Rules {
        base,
        default_role,
        sources: config.roles.sources.clone(),
        restrictions: config.roles.namespace_restrictions,
        enforcement: config.roles.enforcement,
        permitted: config.roles.permitted,
        naming: config.sessions.naming,
        session_duration: config.sessions.duration,
        attribution: config.sessions.attribution.clone(),
        host_ip: config.node.host_ip,
        keys: config.annotations.clone(),
    }
}

/// Asks until there is an answer, and says meanwhile what is missing.
async fn insist<T, F>(condition: &Condition, what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<Option<T>, UpstreamError>>,
{
    loop {
        match ask().await {
            Ok(Some(answer)) => return answer,
            Ok(None) => condition.missing(format!(
                "no {what} to discover: the instance has no instance profile; attach one or give it by its flag"
            )),
            Err(error) => condition.missing(format!("the {what} is not discovered: {}", Chain(&error))),
        }
        sleep(RETRY).await;
    }
}
