# A table for each topic whose columns the code has written down in schemas/: Pub/Sub itself puts every
# message there as a row. Ids, hashes, counts and states; never anybody's words.

locals {
  tables = {
    for schema in fileset("${path.module}/schemas", "*.json") :
    trimsuffix(schema, ".json") => file("${path.module}/schemas/${schema}")
  }
}

resource "google_bigquery_dataset" "events" {
  dataset_id                 = "odai_events"
  location                   = var.region
  description                = "What happened, for questions nobody has thought of yet"
  delete_contents_on_destroy = !var.delete_protection
  depends_on                 = [google_project_service.these]
}

resource "google_bigquery_table" "events" {
  for_each = local.tables

  dataset_id          = google_bigquery_dataset.events.dataset_id
  table_id            = each.key
  deletion_protection = var.delete_protection
  schema              = each.value

  time_partitioning {
    type          = "DAY"
    field         = "at"
    expiration_ms = var.event_days * 24 * 60 * 60 * 1000
  }
}

resource "google_bigquery_dataset_iam_member" "pubsub_writes" {
  for_each = toset(["roles/bigquery.dataEditor", "roles/bigquery.metadataViewer"])

  dataset_id = google_bigquery_dataset.events.dataset_id
  role       = each.key
  member     = local.pubsub_agent
}

resource "google_pubsub_subscription" "bigquery" {
  for_each = local.tables

  name                       = "bigquery.${each.key}"
  topic                      = google_pubsub_topic.these[each.key].id
  message_retention_duration = "604800s"

  bigquery_config {
    table               = "${var.project}.${google_bigquery_dataset.events.dataset_id}.${google_bigquery_table.events[each.key].table_id}"
    use_table_schema    = true
    drop_unknown_fields = true # a field that the code has and the table not yet costs no row
  }

  expiration_policy {
    ttl = ""
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.undelivered.id
    max_delivery_attempts = 10
  }

  depends_on = [google_bigquery_dataset_iam_member.pubsub_writes]
}

resource "google_pubsub_subscription_iam_member" "bigquery_gives_up" {
  for_each = google_pubsub_subscription.bigquery

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
