# What happens by the clock: functions whose function.yaml has a schedule, and the hourly question
# whether a real turn still works.

resource "google_cloud_scheduler_job" "function" {
  for_each = local.scheduled_functions

  name             = local.service_of[each.key]
  region           = var.region
  description      = local.functions[each.key].description
  schedule         = each.value
  time_zone        = "Etc/UTC"
  attempt_deadline = "${min(1800, local.functions[each.key].timeout)}s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "${local.function_urls[each.key]}/${each.key}"

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.function_urls[each.key]
    }
  }

  depends_on = [google_project_service.these]
}

# The image holds the operator's commands too: this is `doctor --url`, with a turn of its own.
resource "google_cloud_run_v2_job" "doctor" {
  name                = "doctor"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.doctor.email
      timeout         = "300s"
      max_retries     = 1

      containers {
        image   = var.image
        command = ["python", "-m", "run.local", "doctor", "--url", local.public_url]

        env {
          name  = "ODAI_DOCTOR_ACCOUNT"
          value = google_service_account.doctor.email
        }

        env {
          name  = "ODAI_FIREBASE_API_KEY"
          value = google_apikeys_key.sign_in.key_string
        }

        resources {
          limits = {
            cpu    = "1"
            memory = "512Mi"
          }
        }
      }
    }
  }

  depends_on = [google_project_service.these]
}

resource "google_cloud_run_v2_job_iam_member" "doctor" {
  location = var.region
  name     = google_cloud_run_v2_job.doctor.name
  role     = "roles/run.invoker"
  member   = google_service_account.invoker.member
}

resource "google_cloud_scheduler_job" "doctor" {
  name             = "doctor"
  region           = var.region
  description      = "Asks whether a real turn still works"
  schedule         = "17 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "30s"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.doctor.id}:run"

    oauth_token {
      service_account_email = google_service_account.invoker.email
    }
  }
}
