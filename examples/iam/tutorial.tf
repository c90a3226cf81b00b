# How NOT to do it: the nodes may assume every role that trusts them, wherever it is.
# podiam iam lint examples/iam/tutorial.tf

resource "aws_iam_role" "nodes" {
  name = "nodes"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

data "aws_iam_policy_document" "nodes" {
  statement {
    actions   = ["sts:AssumeRole"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "nodes" {
  name   = "assume-pod-roles"
  role   = aws_iam_role.nodes.name
  policy = data.aws_iam_policy_document.nodes.json
}

resource "aws_iam_role" "cluster_autoscaler" {
  name                 = "cluster-autoscaler"
  path                 = "/k8s/"
  max_session_duration = 43200
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = aws_iam_role.nodes.arn }
    }]
  })
}
