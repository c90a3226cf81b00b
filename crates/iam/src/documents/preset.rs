//! What well-known workloads may do, and on what: the least that their own documentation asks for, on named resources
//! wherever the service knows resources at all.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::name::{self, NameError};
use crate::Partition;
use crate::policy::{PolicyDocument, Statement};

/// The workloads that podiam knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresetKind {
    /// The Kubernetes cluster autoscaler, on named Auto Scaling groups.
    ClusterAutoscaler,
    /// external-dns, on named hosted zones.
    ExternalDns,
    /// cert-manager's DNS-01 solver: TXT records of named hosted zones.
    CertManager,
    /// The EBS CSI driver's controller, on volumes and snapshots that carry its tag.
    EbsCsi,
    /// Reading one bucket, or what is below a prefix in it.
    S3Read,
}

impl PresetKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ClusterAutoscaler,
        Self::ExternalDns,
        Self::CertManager,
        Self::EbsCsi,
        Self::S3Read,
    ];

    /// Its name on the command line and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterAutoscaler => "cluster-autoscaler",
            Self::ExternalDns => "external-dns",
            Self::CertManager => "cert-manager",
            Self::EbsCsi => "ebs-csi",
            Self::S3Read => "s3-read",
        }
    }
}

impl fmt::Display for PresetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PresetKind {
    type Err = PresetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| PresetError::Unknown(text.to_owned()))
    }
}

/// Everything that presets may need; each takes its own share and refuses the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresetOptions {
    /// The region of the Auto Scaling groups.
    pub region: Option<String>,
    /// Names of Auto Scaling groups.
    pub auto_scaling_groups: Vec<String>,
    /// IDs of hosted zones.
    pub hosted_zones: Vec<String>,
    /// The bucket.
    pub bucket: Option<String>,
    /// Where the keys that may be read begin; absent: all.
    pub key_prefix: Option<String>,
}

/// Why there is no such preset.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PresetError {
    /// No preset has this name.
    #[error(
        "there is no preset {0:?}, only cluster-autoscaler, external-dns, cert-manager, ebs-csi and s3-read"
    )]
    Unknown(String),
    /// It cannot name its resources without this.
    #[error("the preset {0} needs {1}")]
    Missing(PresetKind, &'static str),
    /// This would be ignored.
    #[error("the preset {0} has no use for {1}")]
    Unused(PresetKind, &'static str),
    /// Not a name of such a thing.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A preset with all that it needs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    kind: PresetKind,
    options: PresetOptions,
}

impl Preset {
    /// Checks that `options` hold what the preset needs, and nothing else.
    pub fn new(kind: PresetKind, options: PresetOptions) -> Result<Self, PresetError> {
        use PresetKind::{CertManager, ClusterAutoscaler, ExternalDns, S3Read};
        let scales = kind == ClusterAutoscaler;
        let zones = matches!(kind, ExternalDns | CertManager);
        let reads = kind == S3Read;
        for (given, needed, allowed, what) in [
            (options.region.is_some(), scales, scales, "a region"),
            (
                !options.auto_scaling_groups.is_empty(),
                scales,
                scales,
                "an Auto Scaling group",
            ),
            (
                !options.hosted_zones.is_empty(),
                zones,
                zones,
                "a hosted zone",
            ),
            (options.bucket.is_some(), reads, reads, "a bucket"),
            (options.key_prefix.is_some(), false, reads, "a key prefix"),
        ] {
            if needed && !given {
                return Err(PresetError::Missing(kind, what));
            }
            if given && !allowed {
                return Err(PresetError::Unused(kind, what));
            }
        }
        options.region.iter().try_for_each(|r| name::region(r))?;
        let groups = &options.auto_scaling_groups;
        groups
            .iter()
            .try_for_each(|g| name::auto_scaling_group(g))?;
        options
            .hosted_zones
            .iter()
            .try_for_each(|z| name::hosted_zone(z))?;
        options.bucket.iter().try_for_each(|b| name::bucket(b))?;
        options
            .key_prefix
            .iter()
            .try_for_each(|p| name::key_prefix(p))?;
        Ok(Self { kind, options })
    }

    /// Which one.
    pub fn kind(&self) -> PresetKind {
        self.kind
    }

    /// What the workload may do in this account.
    pub fn document(&self, partition: Partition, account: &str) -> PolicyDocument {
        PolicyDocument::new(match self.kind {
            PresetKind::ClusterAutoscaler => self.cluster_autoscaler(partition, account),
            PresetKind::ExternalDns => self.external_dns(partition),
            PresetKind::CertManager => self.cert_manager(partition),
            PresetKind::EbsCsi => ebs_csi(partition, account),
            PresetKind::S3Read => self.s3_read(partition),
        })
    }

    /// The describing actions know no resources, hence `*`. The UUID in a group's ARN is AWS's, hence the `*` there.
    fn cluster_autoscaler(&self, partition: Partition, account: &str) -> Vec<Statement> {
        let region = self.options.region.as_deref().unwrap_or_default();
        let groups = self.options.auto_scaling_groups.iter().map(|group| {
            format!(
                "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/{group}"
            )
        });
        vec![
            Statement::allow(
                "LookAtGroups",
                [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeAutoScalingInstances",
                    "autoscaling:DescribeLaunchConfigurations",
                    "autoscaling:DescribeScalingActivities",
                    "autoscaling:DescribeTags",
                    "ec2:DescribeImages",
                    "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplateVersions",
                    "ec2:GetInstanceTypesFromInstanceRequirements",
                ],
            )
            .on(["*"]),
            Statement::allow(
                "ScaleNamedGroups",
                [
                    "autoscaling:SetDesiredCapacity",
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                ],
            )
            .on(groups),
        ]
    }

    fn zones(&self, partition: Partition) -> impl Iterator<Item = String> {
        self.options
            .hosted_zones
            .iter()
            .map(move |zone| format!("arn:{partition}:route53:::hostedzone/{zone}"))
    }

    fn external_dns(&self, partition: Partition) -> Vec<Statement> {
        vec![
            Statement::allow("FindZones", ["route53:ListHostedZones"]).on(["*"]),
            Statement::allow(
                "KeepRecordsOfNamedZones",
                [
                    "route53:ChangeResourceRecordSets",
                    "route53:ListResourceRecordSets",
                    "route53:ListTagsForResource",
                    "route53:ListTagsForResources",
                ],
            )
            .on(self.zones(partition)),
        ]
    }

    fn cert_manager(&self, partition: Partition) -> Vec<Statement> {
        vec![
            Statement::allow("FindZones", ["route53:ListHostedZonesByName"]).on(["*"]),
            Statement::allow("FollowChanges", ["route53:GetChange"])
                .on([format!("arn:{partition}:route53:::change/*")]),
            Statement::allow("ReadRecords", ["route53:ListResourceRecordSets"])
                .on(self.zones(partition)),
            Statement::allow("AnswerChallenges", ["route53:ChangeResourceRecordSets"])
                .on(self.zones(partition))
                .when(
                    "ForAllValues:StringEquals",
                    "route53:ChangeResourceRecordSetsRecordTypes",
                    ["TXT"],
                ),
        ]
    }

    fn s3_read(&self, partition: Partition) -> Vec<Statement> {
        let bucket = self.options.bucket.as_deref().unwrap_or_default();
        let prefix = self.options.key_prefix.as_deref().unwrap_or_default();
        let bucket = format!("arn:{partition}:s3:::{bucket}");
        let list = Statement::allow("ListObjects", ["s3:ListBucket"]).on([bucket.as_str()]);
        let list = if prefix.is_empty() {
            list
        } else {
            list.when("StringLike", "s3:prefix", [format!("{prefix}*")])
        };
        vec![
            Statement::allow("FindBucket", ["s3:GetBucketLocation"]).on([bucket.as_str()]),
            list,
            Statement::allow("ReadObjects", ["s3:GetObject"]).on([format!("{bucket}/{prefix}*")]),
        ]
    }
}

/// The tag that the driver puts on what it makes.
const EBS_TAG: &str = "ebs.csi.aws.com/cluster";

/// What the driver makes must carry its tag, and only what carries it may be deleted. Attaching, growing and copying
/// reach volumes without the tag too, because volumes made by hand can be mounted.
fn ebs_csi(partition: Partition, account: &str) -> Vec<Statement> {
    let volumes = format!("arn:{partition}:ec2:*:{account}:volume/*");
    let instances = format!("arn:{partition}:ec2:*:{account}:instance/*");
    // The ARN of a snapshot has no account.
    let snapshots = format!("arn:{partition}:ec2:*::snapshot/*");
    let both = [volumes.as_str(), snapshots.as_str()];
    let made = format!("aws:RequestTag/{EBS_TAG}");
    let own = format!("aws:ResourceTag/{EBS_TAG}");
    vec![
        Statement::allow(
            "Look",
            [
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeInstances",
                "ec2:DescribeSnapshots",
                "ec2:DescribeTags",
                "ec2:DescribeVolumeStatus",
                "ec2:DescribeVolumes",
                "ec2:DescribeVolumesModifications",
            ],
        )
        .on(["*"]),
        Statement::allow("Attach", ["ec2:AttachVolume", "ec2:DetachVolume"])
            .on([volumes.as_str(), instances.as_str()]),
        Statement::allow("GrowAndCopy", ["ec2:CreateSnapshot", "ec2:ModifyVolume"])
            .on([volumes.as_str()]),
        Statement::allow("MakeVolumes", ["ec2:CreateVolume"])
            .on([volumes.as_str()])
            .when("StringEquals", &made, ["true"]),
        Statement::allow("MakeVolumesOfSnapshots", ["ec2:CreateVolume"]).on([snapshots.as_str()]),
        Statement::allow("MakeSnapshots", ["ec2:CreateSnapshot"])
            .on([snapshots.as_str()])
            .when("StringEquals", &made, ["true"]),
        Statement::allow("TagWhatIsMade", ["ec2:CreateTags"])
            .on(both)
            .when(
                "StringEquals",
                "ec2:CreateAction",
                ["CreateSnapshot", "CreateVolume"],
            ),
        Statement::allow(
            "EndWhatWasMade",
            ["ec2:DeleteSnapshot", "ec2:DeleteTags", "ec2:DeleteVolume"],
        )
        .on(both)
        .when("StringEquals", &own, ["true"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_names_what_it_lacks_and_what_it_has_no_use_for() {
        let groups = PresetOptions {
            auto_scaling_groups: vec!["workers".into()],
            ..PresetOptions::default()
        };
        let error = Preset::new(PresetKind::ClusterAutoscaler, groups.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the preset cluster-autoscaler needs a region"
        );
        let error = Preset::new(PresetKind::EbsCsi, groups).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the preset ebs-csi has no use for an Auto Scaling group"
        );
        let error = "nginx".parse::<PresetKind>().unwrap_err().to_string();
        for kind in PresetKind::ALL {
            assert!(error.contains(kind.as_str()), "{error}");
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn only_reading_actions_stand_beside_a_star() {
        let options = |kind| match kind {
            PresetKind::ClusterAutoscaler => PresetOptions {
                region: Some("eu-central-1".into()),
                auto_scaling_groups: vec!["workers".into()],
                ..PresetOptions::default()
            },
            PresetKind::ExternalDns | PresetKind::CertManager => PresetOptions {
                hosted_zones: vec!["Z1".into()],
                ..PresetOptions::default()
            },
            PresetKind::EbsCsi => PresetOptions::default(),
            PresetKind::S3Read => PresetOptions {
                bucket: Some("reports".into()),
                ..PresetOptions::default()
            },
        };
        for kind in PresetKind::ALL {
            let preset = Preset::new(kind, options(kind)).unwrap();
            let document = preset.document(Partition::AwsCn, "123456789012");
            for statement in document.statement {
                let everything = statement.resource.iter().any(|resource| resource == "*");
                let reading = statement.action.iter().all(|action| {
                    ["Describe", "List", "Get"].iter().any(|verb| {
                        action
                            .split(':')
                            .nth(1)
                            .is_some_and(|a| a.starts_with(verb))
                    })
                });
                assert!(!everything || reading, "{kind}: {statement:?}");
                assert!(
                    statement
                        .resource
                        .iter()
                        .all(|r| r == "*" || r.starts_with("arn:aws-cn:")),
                    "{kind}: {statement:?}"
                );
            }
        }
    }
}
