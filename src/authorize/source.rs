//! Where a pod's role is named: the sources in their fixed order, each only where it is switched on. The first that says
//! anything wins, also when it says "none": a later source never overrules an earlier one.

use podiam_iam::{CompleteError, RoleArn};

use super::{Rules, excerpt};
use crate::reason::Reason;
use crate::workload::{EKS_ROLE_ANNOTATION, RoleSource, ServiceAccount, Surroundings, Workload};

/// What the winning source says, with the key of its annotation.
pub(super) enum Named<'a> {
    Annotation(&'a str, &'a str),
    Role(&'a RoleArn),
}

/// The role that the first speaking source names. `winner` is that source, also where what it says is refused.
pub(super) fn role(
    rules: &Rules,
    workload: &Workload,
    around: Surroundings<'_>,
    winner: &mut Option<RoleSource>,
) -> Result<RoleArn, Reason> {
    for source in RoleSource::ALL {
        if !rules.sources.contains(&source) {
            continue;
        }
        let Some(named) = named(rules, workload, around, source)? else {
            continue;
        };
        *winner = Some(source);
        return match named {
            Named::Role(role) => Ok(role.clone()),
            Named::Annotation(key, value) if value.trim().is_empty() => Err(Reason::OptedOut {
                whose: source,
                key: key.to_owned(),
            }),
            Named::Annotation(_, value) => complete(rules, value),
        };
    }
    Err(nobody(rules))
}

/// What one source says; `None` where it is silent. An error where it is not known yet whether it says anything.
pub(super) fn named<'a>(
    rules: &'a Rules,
    workload: &'a Workload,
    around: Surroundings<'a>,
    source: RoleSource,
) -> Result<Option<Named<'a>>, Reason> {
    let keys = &rules.keys;
    let annotation = |key: Option<&'a str>, value: Option<&'a str>| {
        key.zip(value)
            .map(|(key, value)| Named::Annotation(key, value))
    };
    Ok(match source {
        RoleSource::Pod => annotation(Some(&keys.role), workload.annotations.role.as_deref()),
        RoleSource::ServiceAccount => account(workload, around)?.and_then(|account| {
            annotation(
                keys.service_account_role.as_deref(),
                account.role.as_deref(),
            )
        }),
        RoleSource::Eks => account(workload, around)?
            .and_then(|account| annotation(Some(EKS_ROLE_ANNOTATION), account.eks_role.as_deref())),
        RoleSource::Namespace => {
            // Another namespace's annotation must never speak for this pod, even if the caller mixes them up.
            let own = around
                .namespace
                .filter(|known| known.name == workload.namespace)
                .ok_or_else(|| Reason::UnknownNamespace {
                    namespace: workload.namespace.to_string(),
                })?;
            annotation(keys.namespace_role.as_deref(), own.role.as_deref())
        }
        RoleSource::Default => rules.default_role.as_ref().map(Named::Role),
    })
}

/// The pod's service account. A static pod's mirror has none.
fn account<'a>(
    workload: &Workload,
    around: Surroundings<'a>,
) -> Result<Option<&'a ServiceAccount>, Reason> {
    let Some(name) = &workload.service_account else {
        return Ok(None);
    };
    let own = around
        .service_account
        .filter(|known| known.name == *name && known.namespace == workload.namespace);
    own.map(Some).ok_or_else(|| Reason::UnknownServiceAccount {
        namespace: workload.namespace.to_string(),
        name: name.to_string(),
    })
}

fn complete(rules: &Rules, value: &str) -> Result<RoleArn, Reason> {
    RoleArn::complete(value, rules.base.as_ref()).map_err(|error| {
        let value = excerpt(value);
        match error {
            CompleteError::NoBase => Reason::NoBaseArn { value },
            CompleteError::Arn(error) => Reason::MalformedRole {
                value,
                problem: error.to_string(),
            },
        }
    })
}

/// Every source that is on was asked, and all are silent.
fn nobody(rules: &Rules) -> Reason {
    let is_on = |source: &RoleSource| rules.sources.contains(source);
    Reason::NoRole {
        key: is_on(&RoleSource::Pod).then(|| rules.keys.role.clone()),
        elsewhere: RoleSource::ALL
            .into_iter()
            .filter(|source| is_on(source) && *source != RoleSource::Pod)
            .filter_map(|source| Some((source, key(rules, source)?)))
            .collect(),
    }
}

/// The key of a source's annotation; `None` where it has none, or is off.
pub(super) fn key(rules: &Rules, source: RoleSource) -> Option<String> {
    let keys = &rules.keys;
    match source {
        RoleSource::Pod => Some(keys.role.clone()),
        RoleSource::ServiceAccount => keys.service_account_role.clone(),
        RoleSource::Eks => Some(EKS_ROLE_ANNOTATION.to_owned()),
        RoleSource::Namespace => keys.namespace_role.clone(),
        RoleSource::Default => None,
    }
}
