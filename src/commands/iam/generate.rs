//! The commands that make documents: flags in, a [`Bundle`] out, written in the format asked for.

use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use podiam_iam::documents::{
    AssumableRoles, Attachment, Bootstrap, Bundle, EveryRole, Extras, MadeBy, NamedDocument,
    Preset, PresetOptions, Role, Trust, Workload, node_policy as node_document,
};
use podiam_iam::render::{Format, render};
use podiam_iam::{BaseArn, RoleArn};

use super::args::{
    BootstrapArgs, ExtrasArgs, NodePolicyArgs, TrustArgs, TrustPolicyArgs, WorkloadArgs,
};
use crate::commands::{Failure, print};

/// The flag that lets every role be assumed.
const CONSENT: &str = "--i-know-this-allows-every-role";

pub(super) fn node_policy(args: &NodePolicyArgs, said: Vec<String>) -> Result<ExitCode, Failure> {
    let role = node_role(args).map_err(Failure::Usage)?;
    write(vec![role], args.format.format, said)
}

pub(super) fn trust_policy(args: &TrustPolicyArgs, said: Vec<String>) -> Result<ExitCode, Failure> {
    let trust = trust(&args.trust);
    let place = needed(args.role.as_deref(), "--role", args.format.format)
        .and_then(|name| role_arn(name, &trust))
        .map_err(Failure::Usage)?;
    let mut role = Role::new(place);
    role.trust = Some(trust.document());
    write(vec![role], args.format.format, said)
}

pub(super) fn workload(args: &WorkloadArgs, said: Vec<String>) -> Result<ExitCode, Failure> {
    let role = workload_role(args).map_err(Failure::Usage)?;
    write(vec![role], args.format.format, said)
}

pub(super) fn bootstrap(args: &BootstrapArgs, said: Vec<String>) -> Result<ExitCode, Failure> {
    let text = super::read(&args.file)?;
    let roles = Bootstrap::parse(&text)
        .and_then(|file| file.roles())
        .with_context(|| args.file.clone())
        .map_err(Failure::Usage)?;
    write(roles, args.format.format, said)
}

fn node_role(args: &NodePolicyArgs) -> anyhow::Result<Role> {
    let bases = bases(args)?;
    let mut assumable = Vec::new();
    for base in &bases {
        let prefix = if args.prefix == "*" { "" } else { &args.prefix };
        let roles = AssumableRoles::new(base.clone(), prefix)
            .with_context(|| format!("--prefix {prefix:?}"))?;
        if !args.i_know_this_allows_every_role {
            let limited = roles.clone().limited();
            limited.with_context(|| format!("{base}* needs {CONSENT}"))?;
        }
        assumable.push(roles);
    }
    let Some(first) = bases.first() else {
        bail!("--base-role-arn or --account is needed");
    };
    let node = args
        .node_role
        .as_deref()
        .map(|name| {
            first
                .in_account(name)
                .with_context(|| format!("--node-role {name:?}"))
        })
        .transpose()?;
    let name = needed(
        node.as_ref().map(RoleArn::as_str),
        "--node-role",
        args.format.format,
    )?;
    let mut role = Role::new(first.in_account(name)?);
    let document = node_document(&assumable, node.as_ref(), extras(&args.extras))?;
    if args.managed {
        role.managed.push(NamedDocument {
            name: format!("{}-podiam", role.arn.name()),
            document,
        });
    } else {
        role.inline.push(NamedDocument {
            name: "podiam".to_owned(),
            document,
        });
    }
    Ok(role)
}

/// Where the pods' roles are. Whoever writes `*` means every role of the account, which is said in one way only.
fn bases(args: &NodePolicyArgs) -> anyhow::Result<Vec<BaseArn>> {
    let every = |text: &str| text == "*" || text.ends_with(":role/*");
    let texts: Vec<String> = match &args.account {
        Some(account) => {
            let path = if args.path == "*" {
                ""
            } else {
                args.path.trim_matches('/')
            };
            vec![format!("arn:{}:iam::{account}:role/{path}", args.partition)]
        }
        None => args.base_role_arn.clone(),
    };
    texts
        .into_iter()
        .map(|text| {
            let base = if every(&text) && args.i_know_this_allows_every_role && text != "*" {
                text.trim_end_matches('*')
            } else if every(&text) {
                let account = if text == "*" { "--account and " } else { "" };
                return Err(anyhow!(EveryRole).context(format!("{text} needs {account}{CONSENT}")));
            } else {
                text.as_str()
            };
            BaseArn::parse(base).with_context(|| format!("{text:?}"))
        })
        .collect()
}

fn workload_role(args: &WorkloadArgs) -> anyhow::Result<Role> {
    let trust = trust(&args.trust);
    let options = PresetOptions {
        region: args.region.clone(),
        auto_scaling_groups: args.auto_scaling_groups.clone(),
        hosted_zones: args.hosted_zones.clone(),
        bucket: args.bucket.clone(),
        key_prefix: args.key_prefix.clone(),
    };
    let workload = Workload {
        role: role_arn(&args.role, &trust)?,
        preset: Preset::new(args.preset, options)?,
        attachment: if args.managed {
            Attachment::Managed
        } else {
            Attachment::Inline
        },
        trust,
    };
    Ok(workload.role())
}

fn trust(args: &TrustArgs) -> Trust {
    Trust {
        node_roles: args.node_roles.clone(),
        external_id: args.external_id.clone(),
        tags: args.tags.clone(),
        source_identity: args.require_source_identity.clone(),
        extras: extras(&args.extras),
        through_account: args.through_account,
    }
}

fn extras(args: &ExtrasArgs) -> Extras {
    Extras {
        tags: args.session_tags,
        source_identity: args.source_identity,
    }
}

/// A role by its ARN, or by its path and name in the account of the first node role.
fn role_arn(text: &str, trust: &Trust) -> anyhow::Result<RoleArn> {
    let node = trust.node_roles.first().context("--node-role is needed")?;
    let base = format!("arn:{}:iam::{}:role/", node.partition(), node.account());
    BaseArn::parse(&base)
        .and_then(|base| base.in_account(text))
        .with_context(|| format!("the role {text:?}"))
}

/// The name of the role that a document goes to. JSON shows the document alone, so there any name will do.
fn needed<'a>(name: Option<&'a str>, flag: &str, format: Format) -> anyhow::Result<&'a str> {
    match name {
        Some(name) => Ok(name),
        None if format == Format::Json => Ok("unnamed"),
        None => bail!("--format={format} needs {flag}: it says which role gets the document"),
    }
}

fn write(roles: Vec<Role>, format: Format, said: Vec<String>) -> Result<ExitCode, Failure> {
    let made_by = MadeBy {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        words: said,
    };
    let bundle = Bundle::new(made_by, roles)?;
    print(render(&bundle, format)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
