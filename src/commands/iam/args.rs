//! The flags of `podiam iam`. Names and ARNs are parsed here, so that a wrong one is a usage error of its flag.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args};
use podiam_iam::documents::PresetKind;
use podiam_iam::lint::Output;
use podiam_iam::render::Format;
use podiam_iam::{ExternalId, Partition, RoleArn};

fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::as_str))
        .try_map(|name| name.parse::<Format>())
}

fn output() -> impl TypedValueParser<Value = Output> {
    PossibleValuesParser::new(["text", "json", "sarif"]).try_map(|name| name.parse::<Output>())
}

fn preset() -> impl TypedValueParser<Value = PresetKind> {
    PossibleValuesParser::new(PresetKind::ALL.map(PresetKind::as_str))
        .try_map(|name| name.parse::<PresetKind>())
}

/// `KEY=VALUE`.
fn tag(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("not of the form KEY=VALUE"),
    }
}

/// How what is made is written.
#[derive(Args)]
pub(super) struct FormatArgs {
    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = format())]
    pub(super) format: Format,
}

/// What sessions carry.
#[derive(Args)]
pub(super) struct ExtrasArgs {
    /// Allow session tags (sts:TagSession)
    #[arg(long)]
    pub(super) session_tags: bool,

    /// Allow a source identity (sts:SetSourceIdentity)
    #[arg(long)]
    pub(super) source_identity: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("where").required(true).multiple(false).args(["base_role_arn", "account"]))]
pub(in crate::commands) struct NodePolicyArgs {
    /// What the agent gets as --base-role-arn; may be repeated, for roles in several places
    #[arg(long, value_name = "ARN")]
    pub(super) base_role_arn: Vec<String>,

    /// The account of the pods' roles, in place of --base-role-arn
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,

    /// The partition of --account
    #[arg(long, value_name = "NAME", default_value = "aws", requires = "account")]
    pub(super) partition: Partition,

    /// The path of the pods' roles in --account, as k8s/
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        requires = "account"
    )]
    pub(super) path: String,

    /// How the names of the pods' roles begin
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) prefix: String,

    /// The nodes' role: its ARN, or its name in the account. Checked to be none of the pods' roles, and where the policy
    /// goes in formats other than JSON
    #[arg(long, value_name = "ROLE")]
    pub(super) node_role: Option<String>,

    #[command(flatten)]
    pub(super) extras: ExtrasArgs,

    /// Make a managed policy instead of an inline one
    #[arg(long)]
    pub(super) managed: bool,

    /// Allow every role of the account, without a path or a prefix
    #[arg(long)]
    pub(super) i_know_this_allows_every_role: bool,

    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Whom a role trusts.
#[derive(Args)]
pub(super) struct TrustArgs {
    /// The nodes' role; may be repeated
    #[arg(long = "node-role", value_name = "ARN", required = true)]
    pub(super) node_roles: Vec<RoleArn>,

    /// Demand an external ID, which the pod's annotation has to give
    #[arg(long, value_name = "ID")]
    pub(super) external_id: Option<ExternalId>,

    /// Demand a session tag; * and ? are wildcards in the value; may be repeated
    #[arg(long = "require-tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub(super) tags: Vec<(String, String)>,

    /// Demand a source identity; * and ? are wildcards
    #[arg(long, value_name = "VALUE")]
    pub(super) require_source_identity: Option<String>,

    #[command(flatten)]
    pub(super) extras: ExtrasArgs,

    /// Trust the nodes' account, on the condition that the caller is the node role (aws:PrincipalArn)
    #[arg(long)]
    pub(super) through_account: bool,
}

#[derive(Args)]
pub(in crate::commands) struct TrustPolicyArgs {
    #[command(flatten)]
    pub(super) trust: TrustArgs,

    /// The role that gets the policy, its ARN or its name in the nodes' account: for formats other than JSON
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Option<String>,

    #[command(flatten)]
    pub(super) format: FormatArgs,
}

#[derive(Args)]
pub(in crate::commands) struct WorkloadArgs {
    /// The workload's role: its ARN, or its path and name in the nodes' account
    #[arg(value_name = "ROLE")]
    pub(super) role: String,

    /// What the workload is
    #[arg(long, value_name = "PRESET", value_parser = preset())]
    pub(super) preset: PresetKind,

    /// cluster-autoscaler: an Auto Scaling group that it scales; may be repeated
    #[arg(long = "auto-scaling-group", value_name = "NAME")]
    pub(super) auto_scaling_groups: Vec<String>,

    /// cluster-autoscaler: the groups' region
    #[arg(long, value_name = "REGION")]
    pub(super) region: Option<String>,

    /// external-dns, cert-manager: a hosted zone that it writes; may be repeated
    #[arg(long = "hosted-zone", value_name = "ID")]
    pub(super) hosted_zones: Vec<String>,

    /// s3-read: the bucket
    #[arg(long, value_name = "NAME")]
    pub(super) bucket: Option<String>,

    /// s3-read: how the keys begin that it may read
    #[arg(long, value_name = "PREFIX")]
    pub(super) key_prefix: Option<String>,

    #[command(flatten)]
    pub(super) trust: TrustArgs,

    /// Make a managed policy instead of an inline one
    #[arg(long)]
    pub(super) managed: bool,

    #[command(flatten)]
    pub(super) format: FormatArgs,
}

#[derive(Args)]
pub(in crate::commands) struct BootstrapArgs {
    /// The YAML file, or - for stdin
    #[arg(value_name = "FILE")]
    pub(super) file: String,

    #[command(flatten)]
    pub(super) format: FormatArgs,
}

#[derive(Args)]
pub(in crate::commands) struct LintArgs {
    /// JSON (*.json) and Terraform (*.tf, *.hcl) files, judged together; - is stdin
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<String>,

    /// A role of the nodes, besides those that trust policies name; may be repeated
    #[arg(long = "node-role", value_name = "ARN")]
    pub(super) node_roles: Vec<RoleArn>,

    /// The account of the roles whose files do not say it
    #[arg(long, value_name = "ID", value_parser = account)]
    pub(super) account: Option<String>,

    /// What to print
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = output())]
    pub(super) format: Output,
}

fn account(text: &str) -> Result<String, &'static str> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account is 12 digits")
    }
}
