variable "name" {
  type        = string
  description = "The name of the role."
}

variable "path" {
  type        = string
  description = "The path of the pods' roles, without slashes at its ends: as in the module node-policy."

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]+(/[A-Za-z0-9_+=,.@-]+)*$", var.path))
    error_message = "A path of letters, digits and _+=,.@-, without slashes at its ends, is needed."
  }
}

variable "node_role_arn" {
  type        = string
  description = "The ARN of the nodes' role."
}

variable "external_id" {
  type        = string
  description = "The external ID that the pod's annotation has to give; null: none."
  default     = null
}

variable "policy" {
  type        = string
  description = "What the workload may do, as JSON."
}
