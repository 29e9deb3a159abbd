# Rate, errors and duration of everything the code measures: each operation (a request, turn, tool,
# model call, job) ends with one log line, and these metrics are made from those lines.

locals {
  operation_labels = {
    operation = "EXTRACT(jsonPayload.operation)"
    outcome   = "EXTRACT(jsonPayload.outcome)"
    target    = "EXTRACT(jsonPayload.target)"
  }
}

resource "google_logging_metric" "operations" {
  name             = "odai/operations"
  description      = "Operations that ended, by what they were and how they ended"
  filter           = "resource.type=\"cloud_run_revision\" AND jsonPayload.operation:*"
  label_extractors = local.operation_labels

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = local.operation_labels

      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  depends_on = [google_project_service.these]
}

resource "google_logging_metric" "operation_ms" {
  name             = "odai/operation_ms"
  description      = "How long operations took"
  filter           = "resource.type=\"cloud_run_revision\" AND jsonPayload.operation:*"
  value_extractor  = "EXTRACT(jsonPayload.duration_ms)"
  label_extractors = local.operation_labels

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"

    dynamic "labels" {
      for_each = local.operation_labels

      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 40
      growth_factor      = 1.4
      scale              = 1
    }
  }

  depends_on = [google_project_service.these]
}

resource "google_logging_metric" "first_token_ms" {
  name            = "odai/first_token_ms"
  description     = "From a turn's beginning to the first piece of its answer"
  filter          = "resource.type=\"cloud_run_revision\" AND jsonPayload.operation=\"turn\" AND jsonPayload.first_token_ms>0"
  value_extractor = "EXTRACT(jsonPayload.first_token_ms)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 40
      growth_factor      = 1.4
      scale              = 1
    }
  }

  depends_on = [google_project_service.these]
}
