variable "node_role_name" {
  type        = string
  description = "The name of the nodes' role, which exists. Keep the role itself outside of the path."
}

variable "account_id" {
  type        = string
  description = "The account of the pods' roles."

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account is 12 digits."
  }
}

variable "partition" {
  type        = string
  description = "The partition of the pods' roles."
  default     = "aws"
}

variable "path" {
  type        = string
  description = "The path of the pods' roles, without slashes at its ends: k8s/demo. What the agents get in --base-role-arn."

  # No wildcard, and never empty: that would be every role of the account.
  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]+(/[A-Za-z0-9_+=,.@-]+)*$", var.path))
    error_message = "A path of letters, digits and _+=,.@-, without slashes at its ends, is needed; wildcards are not allowed."
  }
}

variable "prefix" {
  type        = string
  description = "How the names of the pods' roles begin; empty: all below the path."
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]*$", var.prefix))
    error_message = "Letters, digits and _+=,.@- only; wildcards are not allowed."
  }
}

variable "session_tags" {
  type        = bool
  description = "Whether the agents set session tags (sts:TagSession)."
  default     = false
}

variable "source_identity" {
  type        = bool
  description = "Whether the agents set a source identity (sts:SetSourceIdentity)."
  default     = false
}
