# Better, and still open: the Allow is scoped, but inside the account a trust policy that names the nodes needs no Allow.
# podiam iam lint examples/iam/scoped.tf

data "aws_caller_identity" "current" {}

resource "aws_iam_role_policy" "nodes" {
  name = "assume-pod-roles"
  role = "nodes"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "sts:AssumeRole"
      Resource = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:role/k8s/*"
    }]
  })
}

resource "aws_iam_role" "cluster_autoscaler" {
  name = "cluster-autoscaler"
  path = "/k8s/"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:role/nodes" }
    }]
  })
}
