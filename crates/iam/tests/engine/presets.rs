//! What each workload may do: all that it needs, on what it was given, and nothing beside it.

use podiam_iam::Partition;
use podiam_iam::documents::{Preset, PresetKind, PresetOptions};
use serde_json::Value;

use crate::judge::{ACCOUNT, Question, expect, value};

/// A preset on resources with known names.
pub(crate) fn permissions(kind: PresetKind) -> Value {
    let mut options = PresetOptions::default();
    match kind {
        PresetKind::ClusterAutoscaler => {
            options.region = Some("eu-central-1".into());
            options.auto_scaling_groups = vec!["workers".into(), "spot".into()];
        }
        PresetKind::ExternalDns | PresetKind::CertManager => {
            options.hosted_zones = vec!["Z1".into(), "Z2".into()];
        }
        PresetKind::EbsCsi => {}
        PresetKind::S3Read => {
            options.bucket = Some("reports".into());
            options.key_prefix = Some("2026/".into());
        }
    }
    let preset = Preset::new(kind, options).unwrap();
    value(&preset.document(Partition::Aws, ACCOUNT))
}

fn group(region: &str, account: &str, name: &str) -> String {
    format!(
        "arn:aws:autoscaling:{region}:{account}:autoScalingGroup:8ec0a1f2-0000-4000-8000-000000000000:\
         autoScalingGroupName/{name}"
    )
}

/// A question about one preset: action, resource, context, and the answer.
pub(crate) type Row = (
    &'static str,
    String,
    &'static [(&'static str, &'static str)],
    bool,
);

pub(crate) fn rows(kind: PresetKind) -> Vec<Row> {
    match kind {
        PresetKind::ClusterAutoscaler => cluster_autoscaler(),
        PresetKind::ExternalDns => external_dns(),
        PresetKind::CertManager => cert_manager(),
        PresetKind::EbsCsi => ebs_csi(),
        PresetKind::S3Read => s3_read(),
    }
}

fn cluster_autoscaler() -> Vec<Row> {
    let mine = || group("eu-central-1", ACCOUNT, "workers");
    let mut rows: Vec<Row> = Vec::new();
    for action in [
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations",
        "autoscaling:DescribeScalingActivities",
        "autoscaling:DescribeTags",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:GetInstanceTypesFromInstanceRequirements",
    ] {
        rows.push((action, "*".into(), &[], true));
    }
    for action in [
        "autoscaling:SetDesiredCapacity",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
    ] {
        rows.push((action, mine(), &[], true));
        rows.push((action, group("eu-central-1", ACCOUNT, "spot"), &[], true));
        rows.push((
            action,
            group("eu-central-1", ACCOUNT, "workers2"),
            &[],
            false,
        ));
        rows.push((action, group("eu-central-1", ACCOUNT, "other"), &[], false));
        rows.push((action, group("us-east-1", ACCOUNT, "workers"), &[], false));
        rows.push((
            action,
            group("eu-central-1", "210987654321", "workers"),
            &[],
            false,
        ));
    }
    for action in [
        "autoscaling:UpdateAutoScalingGroup",
        "autoscaling:DeleteAutoScalingGroup",
        "autoscaling:CreateOrUpdateTags",
        "autoscaling:SetInstanceHealth",
    ] {
        rows.push((action, mine(), &[], false));
    }
    let instance = format!("arn:aws:ec2:eu-central-1:{ACCOUNT}:instance/i-1");
    rows.push(("ec2:TerminateInstances", instance, &[], false));
    rows.push(("ec2:DescribeInstances", "*".into(), &[], false));
    rows
}

fn zone(id: &str) -> String {
    format!("arn:aws:route53:::hostedzone/{id}")
}

fn external_dns() -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        ("route53:ListHostedZones", "*".into(), &[], true),
        ("route53:CreateHostedZone", "*".into(), &[], false),
        ("route53:DeleteHostedZone", zone("Z1"), &[], false),
        ("route53:GetHostedZone", zone("Z1"), &[], false),
    ];
    for action in [
        "route53:ChangeResourceRecordSets",
        "route53:ListResourceRecordSets",
        "route53:ListTagsForResource",
        "route53:ListTagsForResources",
    ] {
        rows.push((action, zone("Z1"), &[], true));
        rows.push((action, zone("Z2"), &[], true));
        rows.push((action, zone("Z11"), &[], false));
    }
    rows
}

fn cert_manager() -> Vec<Row> {
    const TYPES: &str = "route53:ChangeResourceRecordSetsRecordTypes";
    let change = "route53:ChangeResourceRecordSets";
    vec![
        ("route53:ListHostedZonesByName", "*".into(), &[], true),
        ("route53:ListHostedZones", "*".into(), &[], false),
        (
            "route53:GetChange",
            "arn:aws:route53:::change/C1".into(),
            &[],
            true,
        ),
        ("route53:ListResourceRecordSets", zone("Z1"), &[], true),
        ("route53:ListResourceRecordSets", zone("Z2"), &[], true),
        ("route53:ListResourceRecordSets", zone("Z3"), &[], false),
        (change, zone("Z1"), &[(TYPES, "TXT")], true),
        (change, zone("Z2"), &[(TYPES, "TXT")], true),
        (change, zone("Z1"), &[(TYPES, "A")], false),
        (change, zone("Z1"), &[(TYPES, "TXT,NS")], false),
        (change, zone("Z3"), &[(TYPES, "TXT")], false),
        ("route53:DeleteHostedZone", zone("Z1"), &[], false),
    ]
}

fn ebs_csi() -> Vec<Row> {
    const MADE: &[(&str, &str)] = &[("aws:RequestTag/ebs.csi.aws.com/cluster", "true")];
    const OWN: &[(&str, &str)] = &[("aws:ResourceTag/ebs.csi.aws.com/cluster", "true")];
    const FOREIGN: &[(&str, &str)] = &[("aws:ResourceTag/ebs.csi.aws.com/cluster", "false")];
    const CREATING: &[(&str, &str)] = &[("ec2:CreateAction", "CreateVolume")];
    const COPYING: &[(&str, &str)] = &[("ec2:CreateAction", "CreateSnapshot")];
    const RUNNING: &[(&str, &str)] = &[("ec2:CreateAction", "RunInstances")];
    let arn = |account: &str, what: &str| format!("arn:aws:ec2:eu-central-1:{account}:{what}");
    let volume = || arn(ACCOUNT, "volume/vol-1");
    let instance = || arn(ACCOUNT, "instance/i-1");
    let snapshot = || arn("", "snapshot/snap-1");
    let stranger = || arn("210987654321", "volume/vol-1");
    let mut rows: Vec<Row> = Vec::new();
    for action in [
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInstances",
        "ec2:DescribeSnapshots",
        "ec2:DescribeTags",
        "ec2:DescribeVolumeStatus",
        "ec2:DescribeVolumes",
        "ec2:DescribeVolumesModifications",
    ] {
        rows.push((action, "*".into(), &[], true));
    }
    for action in ["ec2:AttachVolume", "ec2:DetachVolume"] {
        rows.push((action, volume(), &[], true));
        rows.push((action, instance(), &[], true));
        rows.push((action, stranger(), &[], false));
    }
    rows.extend([
        ("ec2:ModifyVolume", volume(), &[][..], true),
        ("ec2:ModifyVolume", stranger(), &[], false),
        ("ec2:CreateVolume", volume(), MADE, true),
        ("ec2:CreateVolume", volume(), &[], false),
        ("ec2:CreateVolume", snapshot(), &[], true),
        ("ec2:CreateSnapshot", volume(), &[], true),
        ("ec2:CreateSnapshot", snapshot(), MADE, true),
        ("ec2:CreateSnapshot", snapshot(), &[], false),
        ("ec2:CreateTags", volume(), CREATING, true),
        ("ec2:CreateTags", snapshot(), COPYING, true),
        ("ec2:CreateTags", volume(), RUNNING, false),
        ("ec2:CreateTags", volume(), &[], false),
        ("ec2:CreateTags", instance(), CREATING, false),
        ("ec2:DeleteVolume", volume(), OWN, true),
        ("ec2:DeleteVolume", volume(), FOREIGN, false),
        ("ec2:DeleteVolume", volume(), &[], false),
        ("ec2:DeleteSnapshot", snapshot(), OWN, true),
        ("ec2:DeleteSnapshot", snapshot(), &[], false),
        ("ec2:DeleteTags", volume(), OWN, true),
        ("ec2:DeleteTags", volume(), &[], false),
        ("ec2:TerminateInstances", instance(), OWN, false),
        ("ec2:RunInstances", instance(), &[], false),
    ]);
    rows
}

fn s3_read() -> Vec<Row> {
    let bucket = || "arn:aws:s3:::reports".to_owned();
    let object = |key: &str| format!("arn:aws:s3:::reports/{key}");
    vec![
        ("s3:GetBucketLocation", bucket(), &[], true),
        ("s3:ListBucket", bucket(), &[("s3:prefix", "2026/01")], true),
        ("s3:ListBucket", bucket(), &[("s3:prefix", "2025/")], false),
        ("s3:ListBucket", bucket(), &[], false),
        (
            "s3:ListBucket",
            "arn:aws:s3:::reports2".into(),
            &[("s3:prefix", "2026/")],
            false,
        ),
        ("s3:GetObject", object("2026/january"), &[], true),
        ("s3:GetObject", object("2025/january"), &[], false),
        (
            "s3:GetObject",
            "arn:aws:s3:::reports2/2026/x".into(),
            &[],
            false,
        ),
        ("s3:PutObject", object("2026/january"), &[], false),
        ("s3:DeleteObject", object("2026/january"), &[], false),
        ("s3:GetBucketPolicy", bucket(), &[], false),
    ]
}

/// The question of a row.
pub(crate) fn question(permissions: &Value, row: &Row) -> Question {
    let (action, resource, context, _) = row;
    context.iter().fold(
        Question::workload(permissions, action, resource),
        |question, (key, value)| {
            // Several values stand with commas.
            let values: Vec<&str> = value.split(',').collect();
            if *key == "route53:ChangeResourceRecordSetsRecordTypes" {
                question.with(key, values)
            } else {
                question.with(key, *value)
            }
        },
    )
}

#[test]
fn a_workload_may_do_what_it_needs_on_its_own_resources_and_nothing_else() {
    for kind in PresetKind::ALL {
        let permissions = permissions(kind);
        let rows = rows(kind);
        let names: Vec<String> = rows
            .iter()
            .map(|(action, resource, context, _)| {
                format!("{kind}: {action} {resource} {context:?}")
            })
            .collect();
        let table: Vec<(&str, bool, Question)> = rows
            .iter()
            .zip(&names)
            .map(|(row, name)| (name.as_str(), row.3, question(&permissions, row)))
            .collect();
        expect(&table);
    }
}
