output "base_role_arn" {
  description = "What the agents get as --base-role-arn."
  value       = "arn:${var.partition}:iam::${var.account_id}:role/${var.path}/"
}
