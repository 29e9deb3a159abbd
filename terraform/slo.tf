# What users may expect, over 28 days; alerts.tf watches how fast that is used up.

resource "google_monitoring_custom_service" "chat" {
  service_id   = "odai-chat"
  display_name = "Chat"
  depends_on   = [google_project_service.these]
}

locals {
  container_requests = join(" ", [
    "metric.type=\"run.googleapis.com/request_count\"",
    "resource.type=\"cloud_run_revision\"",
    "resource.label.\"service_name\"=\"${google_cloud_run_v2_service.chat_stream.name}\"",
  ])
  turns = join(" ", [
    "metric.type=\"logging.googleapis.com/user/${google_logging_metric.operations.name}\"",
    "resource.type=\"cloud_run_revision\"",
    "metric.label.\"operation\"=\"turn\"",
  ])
  slos = {
    availability = google_monitoring_slo.availability.name
    first_token  = google_monitoring_slo.first_token.name
    turns        = google_monitoring_slo.turns.name
  }
}

resource "google_monitoring_slo" "availability" {
  service             = google_monitoring_custom_service.chat.service_id
  slo_id              = "availability"
  display_name        = "99.9 % of requests are answered without a server error"
  goal                = 0.999
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = local.container_requests
      bad_service_filter   = "${local.container_requests} metric.label.\"response_code_class\"=\"5xx\""
    }
  }
}

resource "google_monitoring_slo" "first_token" {
  service             = google_monitoring_custom_service.chat.service_id
  slo_id              = "first-token"
  display_name        = "95 % of answers begin within 2.5 s"
  goal                = 0.95
  rolling_period_days = 28

  request_based_sli {
    distribution_cut {
      distribution_filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.first_token_ms.name}\" resource.type=\"cloud_run_revision\""

      range {
        min = 0
        max = 2500
      }
    }
  }
}

resource "google_monitoring_slo" "turns" {
  service             = google_monitoring_custom_service.chat.service_id
  slo_id              = "turns"
  display_name        = "99 % of turns do not fail"
  goal                = 0.99
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = local.turns
      bad_service_filter   = "${local.turns} metric.label.\"outcome\"=\"failed\""
    }
  }
}
