# The role of one workload: the nodes may assume it, and it may do what its policy says.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

resource "aws_iam_role" "workload" {
  name = var.name
  path = "/${var.path}/"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      merge(
        {
          Sid       = "NodesAssume"
          Effect    = "Allow"
          Action    = "sts:AssumeRole"
          Principal = { AWS = var.node_role_arn }
        },
        var.external_id == null ? null : {
          Condition = { StringEquals = { "sts:ExternalId" = var.external_id } }
        },
      ),
    ]
  })
}

resource "aws_iam_role_policy" "workload" {
  name   = var.name
  role   = aws_iam_role.workload.name
  policy = var.policy
}
