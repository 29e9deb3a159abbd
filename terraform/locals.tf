# What the code decides: functions by their function.yaml, and what `make docs` writes down in
# from_code.json (queues, topics, secrets). Nothing here names a function, a vendor or a key.

locals {
  code = jsondecode(file("${path.module}/from_code.json"))

  functions = {
    for yaml in fileset("${path.module}/../functions", "*/function.yaml") :
    dirname(yaml) => yamldecode(file("${path.module}/../functions/${yaml}"))
  }

  # A function's id has hyphens: Cloud Run, which serves it, knows no underscores.
  service_of = { for name in keys(local.functions) : name => replace(name, "_", "-") }

  public_functions = { for name, each in local.functions : name => each if each.invoker == "public" }

  # Run by our own queues, topics and schedules; nobody else gets past Cloud Run's own check.
  platform_functions = { for name, each in local.functions : name => each if each.invoker == "platform" }

  listening_functions = {
    for name, each in local.functions : name => each.trigger.topic
    if can(each.trigger.topic) && contains(concat([""], var.keys_set), try(each.trigger.needs, ""))
  }

  scheduled_functions = {
    for name, each in local.functions : name => each.trigger.schedule if can(each.trigger.schedule)
  }

  # `connectors` stands for every key that a manifest names, with those that renew linked accounts.
  secrets_of = {
    for name, each in local.functions : name => toset(flatten([
      for secret in flatten([try(each.secrets, [])]) :
      secret == "connectors" ? local.code.connector_secrets : [secret]
    ]))
  }

  # Without a load balancer the container is the public functions too.
  container_secrets = setunion(
    local.code.connector_secrets, local.code.container_secrets, values(local.secrets_of)...
  )

  # What an identity does: `uses` in function.yaml; a sealed store is what nearly all of them need.
  uses_of = merge(
    { for name, each in local.functions : name => toset(try(each.uses, ["store", "keys"])) },
    { container = toset(["store", "keys", "tasks", "events"]) },
  )

  # Both are known before the services exist, which therefore can be told of one another.
  container_url = "https://chat-stream-${data.google_project.this.number}.${var.region}.run.app"
  function_urls = {
    for name, service in local.service_of :
    name => "https://${service}-${data.google_project.this.number}.${var.region}.run.app"
  }
  public_url = var.domain == "" ? local.container_url : "https://${var.domain}"

  settings = merge({
    GOOGLE_CLOUD_PROJECT  = var.project
    ODAI_ALLOWED_ORIGINS  = join(",", var.allowed_origins)
    ODAI_BACKEND          = "google"
    ODAI_ENV              = "production" # conveniences for development never leave a laptop
    ODAI_FIREBASE_PROJECT = var.firebase_project
    ODAI_GOOGLE_LOCATION  = var.region
    ODAI_INVOKER          = google_service_account.invoker.email
    ODAI_KMS_KEY          = google_kms_crypto_key.users.id
    ODAI_MODEL            = var.model
    ODAI_PUBLIC_URL       = local.public_url
    ODAI_PROXIES          = var.domain == "" ? "1" : "2"
    ODAI_TRACES           = "google"
    ODAI_TRACE_SHARE      = tostring(var.trace_share)
  }, var.settings)
}

data "google_project" "this" {
  depends_on = [google_project_service.these]
}
