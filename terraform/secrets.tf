# A secret for every key that the code may read. Terraform makes the vessel and a first, blank
# version, which the code takes for "not set"; values are added by hand and never pass through here.

resource "google_secret_manager_secret" "these" {
  for_each = local.container_secrets # a superset of every function's

  secret_id           = each.key
  deletion_protection = false # what it holds is a vendor's key: it can be made again there

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.these]
}

# Write-only: the value is sent and neither kept in the state nor read back. A mounted secret without
# any version would keep the service from starting.
resource "google_secret_manager_secret_version" "blank" {
  for_each = google_secret_manager_secret.these

  secret                 = each.value.id
  secret_data_wo         = " "
  secret_data_wo_version = 1
  deletion_policy        = "ABANDON"
}

locals {
  secret_readers = merge(
    [for name, wanted in merge(local.secrets_of, { container = local.container_secrets }) : {
      for secret in wanted : "${name} ${secret}" => { name = name, secret = secret }
    }]...
  )
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_readers

  secret_id = google_secret_manager_secret.these[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.runners[each.value.name]
}
