# A queue for each vendor that is called slowly, at the vendor's own pace, and one for follow-ups. The
# queue says where its tasks go: the code knows paths, not which service answers them.

locals {
  queue_hosts = {
    container = trimprefix(local.container_url, "https://")
    worker    = trimprefix(local.function_urls["connector_worker"], "https://")
  }

  # The container is told the public address and compares with that; a function is asked at its own,
  # where Cloud Run has compared before.
  queue_audiences = {
    container = local.public_url
    worker    = local.function_urls["connector_worker"]
  }
}

resource "google_cloud_tasks_queue" "these" {
  for_each = local.code.queues

  name     = each.key
  location = var.region

  rate_limits {
    max_dispatches_per_second = each.value.per_second
    max_concurrent_dispatches = each.value.concurrency
  }

  retry_config {
    max_attempts       = each.value.max_attempts
    min_backoff        = "${each.value.min_backoff_s}s"
    max_backoff        = "${each.value.max_backoff_s}s"
    max_retry_duration = "86400s" # a job is kept for a day; retries end when this and the attempts have
    max_doublings      = 10
  }

  http_target {
    http_method = "POST"

    uri_override {
      scheme                    = "HTTPS"
      host                      = local.queue_hosts[each.value.target]
      uri_override_enforce_mode = "ALWAYS"
    }

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.queue_audiences[each.value.target]
    }
  }

  stackdriver_logging_config {
    sampling_ratio = 0.1
  }

  depends_on = [google_project_service.these]
}

locals {
  enqueuers = {
    for pair in setproduct(keys(local.using_tasks), keys(local.code.queues)) :
    "${pair[0]} ${pair[1]}" => { name = pair[0], queue = pair[1] }
  }
}

resource "google_cloud_tasks_queue_iam_member" "enqueuer" {
  for_each = local.enqueuers

  name     = google_cloud_tasks_queue.these[each.value.queue].name
  location = var.region
  role     = "roles/cloudtasks.enqueuer"
  member   = local.runners[each.value.name]
}
