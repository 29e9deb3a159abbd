# Terraform and its providers. State lies in a bucket that `make deploy` makes and names.

terraform {
  required_version = ">= 1.11" # write-only arguments keep secrets out of the state

  required_providers {
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.7"
    }
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  backend "gcs" {
    prefix = "odai"
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  billing_project       = var.project
  user_project_override = true

  default_labels = {
    app = "odai"
    env = var.env
  }
}
