# One page that says how it goes: turns, first tokens, tools, requests, queues, what was given up.

locals {
  of_operation = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.operation_ms.name}\" resource.type=\"cloud_run_revision\""
  of_count     = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.operations.name}\" resource.type=\"cloud_run_revision\""

  # title => what is drawn, aligned how, one line for each of what
  charts = [
    { title = "Turns a minute, by how they ended", filter = "${local.of_count} metric.label.\"operation\"=\"turn\"", align = "ALIGN_RATE", reduce = "REDUCE_SUM", per = ["metric.label.outcome"] },
    { title = "First token, p95 ms", filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.first_token_ms.name}\" resource.type=\"cloud_run_revision\"", align = "ALIGN_DELTA", reduce = "REDUCE_PERCENTILE_95", per = [] },
    { title = "Turn, p95 ms", filter = "${local.of_operation} metric.label.\"operation\"=\"turn\"", align = "ALIGN_DELTA", reduce = "REDUCE_PERCENTILE_95", per = [] },
    { title = "Tools a minute, by how they ended", filter = "${local.of_count} metric.label.\"operation\"=\"tool\"", align = "ALIGN_RATE", reduce = "REDUCE_SUM", per = ["metric.label.outcome"] },
    { title = "Tools, p95 ms", filter = "${local.of_operation} metric.label.\"operation\"=\"tool\"", align = "ALIGN_DELTA", reduce = "REDUCE_PERCENTILE_95", per = ["metric.label.target"] },
    { title = "Requests a minute, by service and class", filter = "metric.type=\"run.googleapis.com/request_count\" resource.type=\"cloud_run_revision\"", align = "ALIGN_RATE", reduce = "REDUCE_SUM", per = ["resource.label.service_name", "metric.label.response_code_class"] },
    { title = "Instances", filter = "metric.type=\"run.googleapis.com/container/instance_count\" resource.type=\"cloud_run_revision\"", align = "ALIGN_MAX", reduce = "REDUCE_SUM", per = ["resource.label.service_name"] },
    { title = "Start to ready, p95 ms", filter = "metric.type=\"run.googleapis.com/container/startup_latencies\" resource.type=\"cloud_run_revision\"", align = "ALIGN_DELTA", reduce = "REDUCE_PERCENTILE_95", per = ["resource.label.service_name"] },
    { title = "Waiting in queues", filter = "metric.type=\"cloudtasks.googleapis.com/queue/depth\" resource.type=\"cloud_tasks_queue\"", align = "ALIGN_MEAN", reduce = "REDUCE_SUM", per = ["resource.label.queue_id"] },
    { title = "Events not delivered", filter = "metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.type=\"pubsub_subscription\"", align = "ALIGN_MAX", reduce = "REDUCE_SUM", per = ["resource.label.subscription_id"] },
  ]
}

resource "google_monitoring_dashboard" "odai" {
  dashboard_json = jsonencode({
    displayName = "ODAI"
    mosaicLayout = {
      columns = 12
      tiles = [
        for number, chart in local.charts : {
          xPos   = number % 2 * 6
          yPos   = floor(number / 2) * 4
          width  = 6
          height = 4
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = {
                      alignmentPeriod    = "60s"
                      perSeriesAligner   = chart.align
                      crossSeriesReducer = chart.reduce
                      groupByFields      = chart.per
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })
}
