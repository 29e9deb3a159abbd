# The functions: one for each folder with a function.yaml, which says all there is to say of it. A new
# one needs no line here.

resource "google_cloudfunctions2_function" "these" {
  for_each = local.functions

  name        = local.service_of[each.key]
  location    = var.region
  description = each.value.description

  build_config {
    runtime         = "python311"
    entry_point     = each.key
    service_account = google_service_account.builder.id

    source {
      storage_source {
        bucket = google_storage_bucket.sources.name
        object = google_storage_bucket_object.function[each.key].name
      }
    }

    automatic_update_policy {}
  }

  service_config {
    available_cpu                    = "1" # what concurrency needs
    available_memory                 = each.value.memory
    timeout_seconds                  = each.value.timeout
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = try(each.value.min_instances, 0)
    max_instance_count               = try(each.value.max_instances, 20)
    service_account_email            = google_service_account.function[each.key].email
    ingress_settings                 = each.value.invoker == "platform" ? "ALLOW_INTERNAL_ONLY" : "ALLOW_INTERNAL_AND_GCLB"
    all_traffic_on_latest_revision   = true

    environment_variables = merge(local.settings, each.value.invoker == "platform" ? {
      ODAI_FUNCTIONS_URL   = local.function_urls[each.key] # the audience of calls made to it
      ODAI_PLATFORM_CHECKS = "true"
    } : {})

    dynamic "secret_environment_variables" {
      for_each = local.secrets_of[each.key]

      content {
        key        = secret_environment_variables.value
        secret     = google_secret_manager_secret.these[secret_environment_variables.value].secret_id
        version    = "latest"
        project_id = var.project
      }
    }
  }

  depends_on = [
    google_project_iam_member.builder,
    google_secret_manager_secret_iam_member.reader,
    google_secret_manager_secret_version.blank,
  ]
}

# A public function answers browsers and webhooks, which prove themselves to our own code. Without a
# load balancer nobody reaches it from outside (see ingress): the container answers in its place.
resource "google_cloud_run_v2_service_iam_member" "public" {
  for_each = local.public_functions

  location = var.region
  name     = google_cloudfunctions2_function.these[each.key].name
  role     = "roles/run.invoker"
  member   = "allUsers"
}

resource "google_cloud_run_v2_service_iam_member" "platform" {
  for_each = local.platform_functions

  location = var.region
  name     = google_cloudfunctions2_function.these[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.invoker.member
}
