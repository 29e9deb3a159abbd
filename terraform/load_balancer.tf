# With a domain: one address for the container and the public functions, at the original backend's
# paths, behind Cloud Armor, with a certificate that Google renews.

locals {
  balanced = var.domain == "" ? {} : merge(
    { for name in keys(local.public_functions) : name => google_cloudfunctions2_function.these[name].name },
    { container = google_cloud_run_v2_service.chat_stream.name },
  )

  # A function answers at its own name and at the paths its function.yaml keeps.
  function_paths = {
    for name, each in local.public_functions : name => flatten([
      for path in concat(["/${name}"], try(each.paths, [])) : [path, "${path}/*"]
    ])
  }
}

resource "google_compute_region_network_endpoint_group" "serverless" {
  for_each = local.balanced

  name                  = replace(each.key, "_", "-")
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = each.value
  }
}

resource "google_compute_backend_service" "serverless" {
  for_each = local.balanced

  name                  = replace(each.key, "_", "-")
  load_balancing_scheme = "EXTERNAL_MANAGED"
  security_policy       = google_compute_security_policy.edge[0].id

  backend {
    group = google_compute_region_network_endpoint_group.serverless[each.key].id
  }

  log_config {
    enable = false # its log would hold addresses with the original clients' `?token=`
  }
}

resource "google_compute_url_map" "edge" {
  count = var.domain == "" ? 0 : 1

  name            = "odai"
  default_service = google_compute_backend_service.serverless["container"].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "odai"
  }

  path_matcher {
    name            = "odai"
    default_service = google_compute_backend_service.serverless["container"].id

    dynamic "path_rule" {
      for_each = local.function_paths

      content {
        paths   = path_rule.value
        service = google_compute_backend_service.serverless[path_rule.key].id
      }
    }
  }
}

resource "google_compute_managed_ssl_certificate" "edge" {
  count = var.domain == "" ? 0 : 1

  name = "odai-${replace(var.domain, ".", "-")}"

  managed {
    domains = [var.domain]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_ssl_policy" "edge" {
  count = var.domain == "" ? 0 : 1

  name            = "odai"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_global_address" "edge" {
  count = var.domain == "" ? 0 : 1

  name       = "odai"
  depends_on = [google_project_service.these]
}

resource "google_compute_target_https_proxy" "edge" {
  count = var.domain == "" ? 0 : 1

  name             = "odai"
  url_map          = google_compute_url_map.edge[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.edge[0].id]
  ssl_policy       = google_compute_ssl_policy.edge[0].id
}

resource "google_compute_global_forwarding_rule" "https" {
  count = var.domain == "" ? 0 : 1

  name                  = "odai-https"
  target                = google_compute_target_https_proxy.edge[0].id
  ip_address            = google_compute_global_address.edge[0].id
  port_range            = "443"
  load_balancing_scheme = "EXTERNAL_MANAGED"
}

resource "google_compute_url_map" "to_https" {
  count = var.domain == "" ? 0 : 1

  name = "odai-to-https"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "to_https" {
  count = var.domain == "" ? 0 : 1

  name    = "odai-to-https"
  url_map = google_compute_url_map.to_https[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  count = var.domain == "" ? 0 : 1

  name                  = "odai-http"
  target                = google_compute_target_http_proxy.to_https[0].id
  ip_address            = google_compute_global_address.edge[0].id
  port_range            = "80"
  load_balancing_scheme = "EXTERNAL_MANAGED"
}
