# The nodes may assume the pods' roles, and nothing else. The Deny is what holds inside one account: see docs/iam.md, "The
# same-account trap".

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  roles = "arn:${var.partition}:iam::${var.account_id}:role/${var.path}/${var.prefix}*"
}

resource "aws_iam_role_policy" "podiam" {
  name = "podiam"
  role = var.node_role_name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "AssumePodRoles"
        Effect = "Allow"
        Action = concat(
          ["sts:AssumeRole"],
          var.session_tags ? ["sts:TagSession"] : [],
          var.source_identity ? ["sts:SetSourceIdentity"] : [],
        )
        Resource = local.roles
      },
      {
        Sid         = "AssumeNothingElse"
        Effect      = "Deny"
        Action      = "sts:AssumeRole"
        NotResource = local.roles
      },
    ]
  })
}
