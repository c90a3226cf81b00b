# The IAM side of a cluster whose nodes have the role "nodes", with the cluster autoscaler as its workload.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_iam_role" "nodes" {
  name = "nodes"
}

locals {
  path  = "k8s/demo"
  group = "demo-workers"
}

module "node_policy" {
  source = "../modules/node-policy"

  node_role_name = data.aws_iam_role.nodes.name
  account_id     = data.aws_caller_identity.current.account_id
  partition      = data.aws_partition.current.partition
  path           = local.path
}

module "cluster_autoscaler" {
  source = "../modules/workload-role"

  name          = "cluster-autoscaler"
  path          = local.path
  node_role_arn = data.aws_iam_role.nodes.arn
  policy        = data.aws_iam_policy_document.cluster_autoscaler.json
}

data "aws_iam_policy_document" "cluster_autoscaler" {
  # The describing actions know no resources.
  statement {
    sid = "LookAtGroups"
    actions = [
      "autoscaling:DescribeAutoScalingGroups",
      "autoscaling:DescribeAutoScalingInstances",
      "autoscaling:DescribeLaunchConfigurations",
      "autoscaling:DescribeScalingActivities",
      "autoscaling:DescribeTags",
      "ec2:DescribeImages",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:GetInstanceTypesFromInstanceRequirements",
    ]
    resources = ["*"]
  }

  statement {
    sid = "ScaleNamedGroups"
    actions = [
      "autoscaling:SetDesiredCapacity",
      "autoscaling:TerminateInstanceInAutoScalingGroup",
    ]
    resources = [
      "arn:${data.aws_partition.current.partition}:autoscaling:*:${data.aws_caller_identity.current.account_id}:autoScalingGroup:*:autoScalingGroupName/${local.group}",
    ]
  }
}

# For the agents: --base-role-arn.
output "base_role_arn" {
  value = module.node_policy.base_role_arn
}

# For the pods of the autoscaler: iam.amazonaws.com/role.
output "annotation" {
  value = module.cluster_autoscaler.annotation
}
