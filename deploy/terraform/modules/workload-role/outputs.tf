output "annotation" {
  description = "What the pod's annotation iam.amazonaws.com/role says: the role's ARN."
  value       = aws_iam_role.workload.arn
}
