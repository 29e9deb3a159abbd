# CI without a key: GitHub's own identity of a workflow on main becomes the deployer's, for an hour.

resource "google_service_account" "deployer" {
  account_id   = "odai-deployer"
  display_name = "Runs cloudbuild.yaml: builds, plans, applies, asks, moves traffic back"
  depends_on   = [google_project_service.these]
}

# It makes everything in this folder, so that it may do much; nobody but the pipeline is it.
resource "google_project_iam_member" "deployer" {
  for_each = toset([
    "roles/artifactregistry.admin",
    "roles/bigquery.admin",
    "roles/cloudbuild.builds.editor",
    "roles/cloudfunctions.admin",
    "roles/cloudkms.admin",
    "roles/cloudscheduler.admin",
    "roles/cloudtasks.admin",
    "roles/compute.loadBalancerAdmin",
    "roles/compute.securityAdmin",
    "roles/datastore.owner",
    "roles/firebaserules.admin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/iam.workloadIdentityPoolAdmin",
    "roles/identitytoolkit.admin",
    "roles/logging.admin",
    "roles/monitoring.admin",
    "roles/pubsub.admin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/run.admin",
    "roles/secretmanager.admin",
    "roles/serviceusage.apiKeysAdmin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.deployer.member
}

# The smoke test signs in as the doctor does.
resource "google_service_account_iam_member" "deployer_signs_as_doctor" {
  service_account_id = google_service_account.doctor.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.deployer.member
}

resource "google_iam_workload_identity_pool" "ci" {
  count = var.ci_repository == "" ? 0 : 1

  workload_identity_pool_id = "odai-ci"
  display_name              = "Continuous integration"
  depends_on                = [google_project_service.these]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.ci_repository == "" ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.ci[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_condition                = "assertion.repository == '${var.ci_repository}' && assertion.ref == 'refs/heads/main'"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "ci" {
  count = var.ci_repository == "" ? 0 : 1

  service_account_id = google_service_account.deployer.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.ci[0].name}/attribute.repository/${var.ci_repository}"
}
