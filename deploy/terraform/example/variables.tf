variable "region" {
  type        = string
  description = "The region of the Auto Scaling group."
  default     = "eu-central-1"
}

variable "image_repository" {
  type        = string
  description = "Where podiam's image was pushed to (cargo xtask image builds it)."
}
