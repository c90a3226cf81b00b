//! `podiam migrate`: what is to be read and how it is to be told. What is told is worked out in `migrate`.
#![allow(
    clippy::doc_markdown,
    reason = "some of these doc comments are the help that a terminal shows"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};
use podiam_iam::documents::OidcProvider;
use podiam_iam::{BaseArn, RoleArn};

use super::{Failure, print};
use crate::migrate::{Input, Options, Origin, Reach, Target, migrate};

/// The exit code where something has to be done before.
const NEEDS_WORK: u8 = 3;

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["paths", "cluster"]))]
pub(super) struct MigrateArgs {
    /// Files and folders: manifests, values of kube2iam's or kiam's chart, namespaces; - is stdin
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Read a cluster: pods, their controllers and namespaces; no Secrets, and nothing is changed
    #[arg(long)]
    cluster: bool,

    /// The kubeconfig of --cluster [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "PATH", requires = "cluster")]
    kubeconfig: Option<PathBuf>,

    /// The context of --cluster [default: the current one]
    #[arg(long, value_name = "NAME", requires = "cluster")]
    context: Option<String>,

    /// What to migrate from: auto takes whichever is found
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = PossibleValuesParser::new(["kube2iam", "kiam", "auto"]))]
    from: String,

    /// The base ARN of the roles, where agents discover it on their nodes
    #[arg(long, value_name = "ARN")]
    base_role_arn: Option<BaseArn>,

    /// podiam's image, for the commands of the plan
    #[arg(long, value_name = "REPOSITORY:TAG")]
    image: Option<String>,

    /// Tell the way out too: IAM roles for service accounts, or EKS Pod Identity
    #[arg(long, value_name = "WHERE", value_parser = PossibleValuesParser::new(["irsa", "pod-identity"]))]
    to: Option<String>,

    /// --to=irsa: the cluster's OpenID Connect provider in IAM
    #[arg(long, value_name = "ARN", required_if_eq("to", "irsa"))]
    oidc_provider: Option<OidcProvider>,

    /// --to=pod-identity: the cluster's name in EKS
    #[arg(long, value_name = "NAME", required_if_eq("to", "pod-identity"))]
    eks_cluster: Option<String>,

    /// --to: the nodes' role, which the new trust policies keep while both ways work
    #[arg(long, value_name = "ARN", requires = "to")]
    node_role: Option<RoleArn>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print the chart values alone, as a file for Helm
    #[arg(long, conflicts_with = "json")]
    values: bool,
}

/// Exits 3 where something has to be done before the migration.
pub(super) fn run(args: MigrateArgs) -> Result<ExitCode, Failure> {
    let input = input(&args)?;
    let options = Options {
        from: match args.from.as_str() {
            "kube2iam" => Some(Origin::Kube2iam),
            "kiam" => Some(Origin::Kiam),
            _ => None,
        },
        base: args.base_role_arn,
        image: args.image,
        to: args
            .oidc_provider
            .map(Target::Irsa)
            .filter(|_| args.to.as_deref() == Some("irsa"))
            .or_else(|| {
                args.eks_cluster
                    .map(Target::PodIdentity)
                    .filter(|_| args.to.as_deref() == Some("pod-identity"))
            }),
        node_role: args.node_role,
    };
    let report = migrate(&input, &options).map_err(|error| Failure::Usage(anyhow!(error)))?;
    let text = if args.json {
        serde_json::to_string_pretty(&report).context("the report cannot be written as JSON")?
            + "\n"
    } else if args.values {
        report
            .values_yaml()
            .context("the values cannot be written as YAML")?
    } else {
        report
            .text()
            .context("the values cannot be written as YAML")?
    };
    print(text.as_bytes())?;
    Ok(if report.needs_work() {
        ExitCode::from(NEEDS_WORK)
    } else {
        ExitCode::SUCCESS
    })
}

fn input(args: &MigrateArgs) -> Result<Input, Failure> {
    let mut input = Input::default();
    for path in &args.paths {
        if path.as_os_str() == "-" {
            let text = super::iam::read("-")?;
            input.add_text("-", &text)?;
        } else {
            input.add_path(path)?;
        }
    }
    if args.cluster {
        let reach = Reach {
            kubeconfig: args.kubeconfig.clone(),
            context: args.context.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(input.add_cluster(&reach))?;
    }
    Ok(input)
}
