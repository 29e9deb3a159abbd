# Where the container's images lie; old ones go away by themselves.

resource "google_artifact_registry_repository" "images" {
  location      = var.region
  repository_id = "odai"
  description   = "Images of the container"
  format        = "DOCKER"

  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-the-last"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10 # to go back to
    }
  }

  cleanup_policies {
    id     = "drop-the-old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [google_project_service.these]
}
