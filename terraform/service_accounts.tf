# Who is who: one identity for the container, one for each function, one whose name our own calls
# carry, one that builds, one that asks whether all is well. None of them ever has a key.

resource "google_service_account" "container" {
  account_id   = "chat-stream"
  display_name = "The container: chats, turns, sockets"
  depends_on   = [google_project_service.these]
}

resource "google_service_account" "function" {
  for_each = local.functions

  account_id   = "fn-${local.service_of[each.key]}"
  display_name = "Function ${each.key}"
  description  = substr(each.value.description, 0, 256)
  depends_on   = [google_project_service.these]
}

resource "google_service_account" "invoker" {
  account_id   = "odai-invoker"
  display_name = "Whose name the calls of our queues, topics and schedules carry"
  depends_on   = [google_project_service.these]
}

resource "google_service_account" "builder" {
  account_id   = "odai-builder"
  display_name = "Builds the functions from their staged sources"
  depends_on   = [google_project_service.these]
}

resource "google_service_account" "doctor" {
  account_id   = "odai-doctor"
  display_name = "Signs in as the user of the smoke test"
  depends_on   = [google_project_service.these]
}

locals {
  # Every identity that runs our code, by the names that `uses_of` has.
  runners = merge(
    { for name, account in google_service_account.function : name => account.member },
    { container = google_service_account.container.member },
  )
}
