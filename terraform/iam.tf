# Who may do what. An identity's grants follow from what it uses; the table in docs/operations.md is
# made from the same facts. Roles on one key, queue or secret are given there and not on the project.

locals {
  project_roles = {
    store = ["roles/datastore.user"]
    every = ["roles/cloudtrace.agent"]
  }

  project_grants = merge([
    for name, uses in local.uses_of : {
      for pair in setproduct([name], flatten([
        for what, roles in local.project_roles : roles if what == "every" || contains(uses, what)
      ])) : "${pair[0]} ${pair[1]}" => { name = pair[0], role = pair[1] }
    }
  ]...)

  using_keys   = { for name, uses in local.uses_of : name => uses if contains(uses, "keys") }
  using_tasks  = { for name, uses in local.uses_of : name => uses if contains(uses, "tasks") }
  using_events = { for name, uses in local.uses_of : name => uses if contains(uses, "events") }
}

resource "google_project_iam_member" "runner" {
  for_each = local.project_grants

  project = var.project
  role    = each.value.role
  member  = local.runners[each.value.name]
}

# Whoever enqueues names the invoker in the task, and must be allowed to do so.
resource "google_service_account_iam_member" "names_invoker" {
  for_each = local.using_tasks

  service_account_id = google_service_account.invoker.name
  role               = "roles/iam.serviceAccountUser"
  member             = local.runners[each.key]
}

resource "google_project_iam_member" "builder" {
  for_each = toset([
    "roles/artifactregistry.writer",
    "roles/logging.logWriter",
    "roles/storage.objectViewer",
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.builder.member
}

# Signing as itself is how the smoke test gets a user's token without any key.
resource "google_service_account_iam_member" "doctor_signs" {
  service_account_id = google_service_account.doctor.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.doctor.member
}
