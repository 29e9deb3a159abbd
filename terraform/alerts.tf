# When somebody is told, and what they should look at (docs/operations.md has the playbooks).

resource "google_monitoring_notification_channel" "email" {
  count = var.alert_email == "" ? 0 : 1

  display_name = "Operators"
  type         = "email"

  labels = {
    email_address = var.alert_email
  }

  depends_on = [google_project_service.these]
}

resource "google_monitoring_uptime_check_config" "site" {
  display_name = "The deployment answers"
  period       = "300s"
  timeout      = "10s"

  # Not /healthz: Google's own front end keeps addresses ending in z on run.app to itself.
  http_check {
    path         = "/test"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  monitored_resource {
    type = "uptime_url"

    labels = {
      project_id = var.project
      host       = trimprefix(local.public_url, "https://")
    }
  }

  depends_on = [google_project_service.these]
}

locals {
  channels = google_monitoring_notification_channel.email[*].id

  # A budget used up this much faster than evenly: at 10 it is gone in under three days.
  burn_rates = { fast = { times = 10, over = "3600s" }, slow = { times = 2, over = "86400s" } }

  # Each is something that users notice or will soon. `per` is what one line of the chart stands for.
  thresholds = {
    certificate = {
      title  = "The certificate ends within two weeks"
      filter = "metric.type=\"monitoring.googleapis.com/uptime_check/time_until_ssl_cert_expires\" resource.type=\"uptime_url\""
      above  = null
      below  = 14
      lasts  = "3600s"
      align  = "ALIGN_NEXT_OLDER"
      reduce = "REDUCE_MIN"
      per    = []
    }
    dead_letters = {
      title  = "Events could not be delivered"
      filter = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.type=\"pubsub_subscription\" resource.label.\"subscription_id\"=\"undelivered\""
      above  = 0
      below  = null
      lasts  = "300s"
      align  = "ALIGN_MAX"
      reduce = "REDUCE_SUM"
      per    = []
    }
    doctor = {
      title  = "The hourly turn failed"
      filter = "metric.type=\"run.googleapis.com/job/completed_execution_count\" resource.type=\"cloud_run_job\" metric.label.\"result\"=\"failed\""
      above  = 0
      below  = null
      lasts  = "0s"
      align  = "ALIGN_DELTA"
      reduce = "REDUCE_SUM"
      per    = []
    }
    function_errors = {
      title  = "A function answers with server errors"
      filter = "metric.type=\"run.googleapis.com/request_count\" resource.type=\"cloud_run_revision\" metric.label.\"response_code_class\"=\"5xx\""
      above  = 0.2
      below  = null
      lasts  = "600s"
      align  = "ALIGN_RATE"
      reduce = "REDUCE_SUM"
      per    = ["resource.label.service_name"]
    }
    instances = {
      title  = "The container is close to its most instances"
      filter = "metric.type=\"run.googleapis.com/container/instance_count\" resource.type=\"cloud_run_revision\" resource.label.\"service_name\"=\"chat-stream\""
      above  = max(1, var.max_instances * 0.8)
      below  = null
      lasts  = "900s"
      align  = "ALIGN_MAX"
      reduce = "REDUCE_SUM"
      per    = []
    }
    queues = {
      title  = "Slow calls wait in a queue"
      filter = "metric.type=\"cloudtasks.googleapis.com/queue/depth\" resource.type=\"cloud_tasks_queue\""
      above  = 100
      below  = null
      lasts  = "900s"
      align  = "ALIGN_MEAN"
      reduce = "REDUCE_MAX"
      per    = ["resource.label.queue_id"]
    }
    site = {
      title  = "The deployment does not answer"
      filter = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" resource.type=\"uptime_url\" metric.label.\"check_id\"=\"${google_monitoring_uptime_check_config.site.uptime_check_id}\""
      above  = null
      below  = 0.5
      lasts  = "300s"
      align  = "ALIGN_FRACTION_TRUE"
      reduce = "REDUCE_MEAN"
      per    = []
    }
  }

  burns = merge([
    for slo, name in local.slos : {
      for speed, rate in local.burn_rates : "${slo} ${speed}" => merge(rate, { slo = slo, name = name, speed = speed })
    }
  ]...)
}

resource "google_monitoring_alert_policy" "burn" {
  for_each = local.burns

  display_name          = "Users' expectations: ${each.value.slo}, used up ${each.value.times} times too fast"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = each.value.speed == "fast" ? "CRITICAL" : "WARNING"

  conditions {
    display_name = "Burn rate over ${each.value.over}"

    condition_threshold {
      filter          = "select_slo_burn_rate(\"${each.value.name}\", \"${each.value.over}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.times
      duration        = "0s"
    }
  }

  documentation {
    content   = "Playbook: docs/operations.md, “Alerts”, ${each.value.slo}."
    mime_type = "text/markdown"
  }
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.thresholds

  display_name          = each.value.title
  combiner              = "OR"
  notification_channels = local.channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = each.value.above == null ? "COMPARISON_LT" : "COMPARISON_GT"
      threshold_value = each.value.above == null ? each.value.below : each.value.above
      duration        = each.value.lasts

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.align
        cross_series_reducer = each.value.reduce
        group_by_fields      = each.value.per
      }
    }
  }

  documentation {
    content   = "Playbook: docs/operations.md, “Alerts”, ${each.key}."
    mime_type = "text/markdown"
  }

  depends_on = [google_project_service.these]
}
