# What an operator decides. Everything that the code decides is in locals.tf.

variable "alert_email" {
  description = "Address that alerts and the budget's warnings go to; empty: nobody is told."
  type        = string
  default     = ""
}

variable "allowed_origins" {
  description = "Web origins that may open a chat, besides the deployment's own."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.allowed_origins : can(regex("^https?://[^/]+$", origin))])
    error_message = "Each origin is a scheme and a host, without a path: https://app.example.com."
  }
}

variable "billing_account" {
  description = "Billing account of the budget alert (012345-6789AB-CDEF01); empty: no budget."
  type        = string
  default     = ""
}

variable "budget_per_month" {
  description = "Monthly budget, in the billing account's currency; warns at 50, 90 and 100 %."
  type        = number
  default     = 50
}

variable "ci_repository" {
  description = "GitHub repository (owner/name) whose main branch may deploy; empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.ci_repository == "" || can(regex("^[\\w.-]+/[\\w.-]+$", var.ci_repository))
    error_message = "The repository is written owner/name."
  }
}

variable "delete_protection" {
  description = "Whether the database, the keys and the events survive `terraform destroy`."
  type        = bool
  default     = true
}

variable "domain" {
  description = "Domain of the load balancer and its certificate; empty: no load balancer, the container answers for the public functions at its own run.app address."
  type        = string
  default     = ""

  validation {
    condition     = var.domain == "" || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "The domain is a plain host name such as odai.example.com."
  }
}

variable "env" {
  description = "Name of this deployment, for labels."
  type        = string

  validation {
    condition     = contains(["dev", "prod"], var.env)
    error_message = "The environment is dev or prod."
  }
}

variable "event_days" {
  description = "How many days BigQuery keeps an event."
  type        = number
  default     = 400
}

variable "firebase_project" {
  description = "Project whose users may sign in; empty: this one."
  type        = string
  default     = ""
}

variable "firestore_location" {
  description = "Where the database lies: a region or a multi-region (nam5, eur3). It can never be changed."
  type        = string
  default     = "nam5"
}

variable "image" {
  description = "The container's image, by digest. A placeholder brings the rest up before the first build."
  type        = string
  default     = "us-docker.pkg.dev/cloudrun/container/hello"
}

variable "keys_set" {
  description = "Keys whose presence switches a subscription on (`needs` in function.yaml), such as SEGMENT_WRITE_KEY."
  type        = list(string)
  default     = []
}

variable "max_instances" {
  description = "Most instances of the container; each holds up to 1000 sockets."
  type        = number
}

variable "min_instances" {
  description = "Instances of the container that always run. 0 is possible: the first caller waits for a start."
  type        = number
}

variable "model" {
  description = "Name of the language model."
  type        = string
  default     = "gpt-6-luna"
}

variable "project" {
  description = "Google Cloud project id; one project for each environment."
  type        = string
}

variable "region" {
  description = "Region of everything that has one."
  type        = string
  default     = "us-central1"
}

variable "settings" {
  description = "Further settings that are no secrets, as environment variables of the container and every function."
  type        = map(string)
  default     = {}
}

variable "trace_share" {
  description = "Share of turns that are traced, 0 to 1."
  type        = number
  default     = 0.1
}
