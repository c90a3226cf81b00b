# A cluster whose nodes have the role "nodes": the nodes' policy, podiam on every node, and the cluster autoscaler with a
# role of its own, which its pods' annotation names.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    helm = {
      source  = "hashicorp/helm"
      version = ">= 2.9"
    }
  }
}

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
      "arn:${data.aws_partition.current.partition}:autoscaling:${var.region}:${data.aws_caller_identity.current.account_id}:autoScalingGroup:*:autoScalingGroupName/${local.group}",
    ]
  }
}

resource "helm_release" "podiam" {
  name      = "podiam"
  namespace = "kube-system"
  chart     = "${path.module}/../../helm/podiam"

  values = [yamlencode({
    image     = { repository = var.image_repository }
    extraArgs = { base-role-arn = module.node_policy.base_role_arn }
  })]
}

resource "helm_release" "cluster_autoscaler" {
  name       = "cluster-autoscaler"
  namespace  = "kube-system"
  repository = "https://kubernetes.github.io/autoscaler"
  chart      = "cluster-autoscaler"

  values = [yamlencode({
    cloudProvider = "aws"
    awsRegion     = var.region
    autoDiscovery = { clusterName = "demo" }
    podAnnotations = {
      "iam.amazonaws.com/role" = module.cluster_autoscaler.annotation
    }
  })]

  # Pods that start before podiam wait for their first credentials.
  depends_on = [helm_release.podiam]
}

# For the agents: --base-role-arn.
output "base_role_arn" {
  value = module.node_policy.base_role_arn
}

# For the pods of the autoscaler: iam.amazonaws.com/role.
output "annotation" {
  value = module.cluster_autoscaler.annotation
}
