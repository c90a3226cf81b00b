//! Terraform: the tutorial's own kind of files, and every form in which a document can stand in one.

use super::{Knowledge, found, in_hcl};

/// What the usual tutorial shows, in our own words: nodes that may assume anything, and a role that trusts them.
pub(super) const TUTORIAL: &str = r#"
resource "aws_iam_role" "nodes" {
  name               = "nodes"
  assume_role_policy = <<EOF
{
  "Version": "2012-10-17",
  "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
}
EOF
}

data "aws_iam_policy_document" "nodes" {
  statement {
    actions   = ["sts:AssumeRole"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "nodes" {
  role   = aws_iam_role.nodes.id
  policy = data.aws_iam_policy_document.nodes.json
}

resource "aws_iam_role" "autoscaler" {
  name                 = "cluster-autoscaler"
  path                 = "/k8s/"
  max_session_duration = 43200
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "sts:AssumeRole"
        Principal = { AWS = aws_iam_role.nodes.arn, "Service" : "ec2.amazonaws.com" }
      },
    ]
  })
}
"#;

#[test]
fn the_tutorials_dangerous_policy_is_found_in_terraform() {
    assert_eq!(
        in_hcl(TUTORIAL),
        [
            "PI101:13", "PI104:13", "PI105:13", "PI204:27", "PI203:31", "PI207:31"
        ]
    );
}

#[test]
fn over_the_tutorials_safe_policy_the_missing_deny_is_named() {
    let safe = TUTORIAL.replace(
        r#"["*"]"#,
        r#"["arn:aws:iam::${data.aws_caller_identity.current.account_id}:role/k8s/*"]"#,
    );
    let safe = safe
        .replace("43200", "3600")
        .replace(", \"Service\" : \"ec2.amazonaws.com\"", "");
    assert_eq!(in_hcl(&safe), ["PI104:13", "PI203:31"]);

    let closed = safe.replace(
        "  statement {\n",
        "  statement {\n    effect        = \"Deny\"\n    actions       = [\"sts:AssumeRole\"]\n    not_resources = \
         [\"arn:aws:iam::${data.aws_caller_identity.current.account_id}:role/k8s/*\"]\n  }\n  statement {\n",
    );
    assert_eq!(in_hcl(&closed), [] as [&str; 0]);
}

#[test]
fn terraform_documents_are_read_in_every_form() {
    let text = r#"
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [
        "arn:aws:iam::${var.account}:root",
      ]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalArn"
      values   = ["arn:aws:iam::123456789012:role/nodes"]
    }
    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = ["x-1"]
    }
  }
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}
resource "aws_iam_policy" "text" {
  policy = "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}"
}
resource "aws_iam_role" "inline" {
  name_prefix        = "x"
  assume_role_policy = file("trust.json")
  inline_policy {
    policy = <<-EOT
      {"Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::123456789012:role/${var.prefix}*"}
      ]}
    EOT
  }
}
resource "aws_iam_user_policy" "broken" {
  policy = "{"
}
resource "aws_iam_policy" "elsewhere" {
  policy = data.aws_iam_policy_document.elsewhere.json
}
resource "aws_iam_policy" "unknown" {
  policy = jsonencode({ Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Resource = var.roles }] })
}
"#;
    assert_eq!(
        in_hcl(text),
        [
            "PI002:2", "PI201:22", "PI101:31", "PI104:31", "PI002:33", "PI002:36", "PI103:39",
            "PI104:39", "PI001:44", "PI002:47", "PI002:50", "PI002:51", "PI104:51"
        ]
    );
}

#[test]
fn what_only_terraform_knows_is_noted_and_never_passed_over() {
    let policy = |statement: &str| {
        format!(
            "resource \"aws_iam_policy\" \"x\" {{\n  policy = jsonencode({{ Statement = [\n{statement}] }})\n}}"
        )
    };
    let deny = "{ Effect = \"Deny\", Action = \"sts:AssumeRole\", NotResource = local.roles },\n";
    for (statement, expected) in [
        ("merge({ Effect = \"Allow\" }, var.more)", "PI002:3"),
        (
            "{ Effect = var.effect, Action = \"sts:AssumeRole\", Resource = \"*\" }",
            "PI002:3",
        ),
        (
            "{ Effect = \"Allow\", Action = concat([\"sts:AssumeRole\"], var.more), Resource = \"*\" }",
            "PI002:3",
        ),
        (
            "{ Effect = \"Allow\", Action = \"sts:AssumeRole\", Principal = { AWS = var.who } }",
            "PI002:3",
        ),
        (deny, "PI002:3"),
    ] {
        let found = in_hcl(&policy(statement));
        let notes = found.iter().filter(|finding| finding.starts_with("PI002"));
        assert_eq!(notes.count(), found.len(), "{statement}: {found:?}");
        assert!(
            found.contains(&expected.to_owned()),
            "{statement}: {found:?}"
        );
    }
}

/// A policy of the nodes whose resource is made of a variable and a local.
const VARIABLES: &str = r#"
variable "path" {
  default = "*"
}
variable "account" {}
locals {
  roles  = "arn:aws:iam::123456789012:role/${var.path}"
  all    = { pods = [local.roles] }
  policy = jsonencode({ Statement = { Effect = "Allow", Action = "sts:AssumeRole", Resource = local.all.pods } })
}
resource "aws_iam_role_policy" "nodes" {
  role   = "nodes"
  policy = local.policy
}
"#;

#[test]
fn variables_are_their_defaults_and_locals_their_expressions_through_any_number_of_steps() {
    assert_eq!(in_hcl(VARIABLES), ["PI102:11", "PI104:11"]);
    let scoped = VARIABLES.replace(r#"default = "*""#, r#"default = "k8s/*""#);
    assert_eq!(in_hcl(&scoped), ["PI104:11"]);
}

#[test]
fn a_variable_without_a_default_is_not_guessed_and_told() {
    let unknown = VARIABLES.replace(r#"default = "*""#, "");
    let found = in_hcl(&unknown);
    assert!(found.contains(&"PI002:11".to_owned()), "{found:?}");
    assert!(!found.contains(&"PI102:11".to_owned()), "{found:?}");
    // A circle has no value either.
    let circle = VARIABLES.replace("role/${var.path}", "role/${local.roles}");
    assert!(in_hcl(&circle).contains(&"PI002:11".to_owned()));
}

#[test]
fn a_folder_is_a_module_with_names_of_its_own() {
    let variable = "variable \"path\" {\n  default = \"*\"\n}\n";
    let rest = VARIABLES.replace("variable \"path\" {\n  default = \"*\"\n}\n", "");
    let has = |folder: &str, code: &str| {
        let name = format!("{folder}variables.tf");
        let sources = [("nodes/main.tf", rest.as_str()), (&name, variable)];
        let found = found(&sources, &Knowledge::default());
        found.iter().any(|finding| finding.starts_with(code))
    };
    assert!(has("nodes/", "PI102") && !has("nodes/", "PI002"));
    assert!(!has("other/", "PI102") && has("other/", "PI002"));
}
