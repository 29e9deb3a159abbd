# Facts for whoever listens: a topic each, a push subscription for each function that listens, and a
# place for what could not be delivered, where it waits a week to be looked at.

resource "google_pubsub_topic" "these" {
  for_each = toset(local.code.topics)

  name                       = each.key
  message_retention_duration = "86400s" # a subscription made anew can go back a day

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_project_service.these]
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = {
    for pair in setproduct(keys(local.using_events), local.code.topics) :
    "${pair[0]} ${pair[1]}" => { name = pair[0], topic = pair[1] }
  }

  topic  = google_pubsub_topic.these[each.value.topic].id
  role   = "roles/pubsub.publisher"
  member = local.runners[each.value.name]
}

locals {
  # A function may listen to one topic, to several, or to all of them ("*").
  subscriptions = merge([
    for name, wanted in local.listening_functions : {
      for topic in(wanted == "*" ? local.code.topics : flatten([wanted])) :
      "${local.service_of[name]}.${topic}" => { name = name, topic = topic }
    }
  ]...)
}

resource "google_pubsub_subscription" "push" {
  for_each = local.subscriptions

  name                       = each.key
  topic                      = google_pubsub_topic.these[each.value.topic].id
  ack_deadline_seconds       = min(600, max(10, local.functions[each.value.name].timeout))
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = "" # never, however quiet it is
  }

  push_config {
    push_endpoint = "${local.function_urls[each.value.name]}/${each.value.name}"

    oidc_token {
      service_account_email = google_service_account.invoker.email
      audience              = local.function_urls[each.value.name]
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.undelivered.id
    max_delivery_attempts = 10
  }
}

resource "google_pubsub_topic" "undelivered" {
  name       = "undelivered"
  depends_on = [google_project_service.these]
}

resource "google_pubsub_subscription" "undelivered" {
  name                       = "undelivered"
  topic                      = google_pubsub_topic.undelivered.id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Pub/Sub itself moves what it gives up, and signs as the invoker.
locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic_iam_member" "gives_up" {
  topic  = google_pubsub_topic.undelivered.id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "gives_up" {
  for_each = google_pubsub_subscription.push

  subscription = each.value.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account_iam_member" "pubsub_signs" {
  service_account_id = google_service_account.invoker.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}
