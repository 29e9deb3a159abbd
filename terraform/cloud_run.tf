# The container: chats, turns, the web client; and where there is no load balancer, the public
# functions' paths as well.

resource "google_cloud_run_v2_service" "chat_stream" {
  name                = "chat-stream"
  location            = var.region
  deletion_protection = false # it holds nothing
  ingress             = var.domain == "" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"

  template {
    service_account                  = google_service_account.container.email
    timeout                          = "3600s" # a socket is one request; this is the longest there is
    max_instance_request_concurrency = 1000
    session_affinity                 = true
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      ports {
        name           = "http1" # end-to-end HTTP/2 would break sockets
        container_port = 8080
      }

      resources {
        cpu_idle          = false # a turn goes on when its socket has gone
        startup_cpu_boost = true

        limits = {
          cpu    = "2"
          memory = "2Gi"
        }
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30

        http_get {
          path = "/healthz"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = "/healthz"
        }
      }

      dynamic "env" {
        for_each = merge(local.settings, var.domain == "" ? { ODAI_MOUNT_FUNCTIONS = "true" } : {})

        content {
          name  = env.key
          value = env.value
        }
      }

      # Public by its nature: the web client signs users in with it. That of another project, where
      # one is named, is given in `settings`.
      dynamic "env" {
        for_each = var.firebase_project == "" ? ["ODAI_FIREBASE_API_KEY"] : []

        content {
          name  = env.value
          value = google_apikeys_key.sign_in.key_string
        }
      }

      dynamic "env" {
        for_each = local.container_secrets

        content {
          name = env.value

          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.these[env.value].secret_id
              version = "latest"
            }
          }
        }
      }
    }
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  lifecycle {
    ignore_changes = [client, client_version] # gcloud's mark, after traffic was moved by hand
  }

  depends_on = [
    google_firestore_database.this,
    google_project_iam_member.runner,
    google_secret_manager_secret_iam_member.reader,
    google_secret_manager_secret_version.blank,
  ]
}

# Users prove themselves to our own code, with a token that Cloud Run does not know.
resource "google_cloud_run_v2_service_iam_member" "chat_stream" {
  location = var.region
  name     = google_cloud_run_v2_service.chat_stream.name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
