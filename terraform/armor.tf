# Cloud Armor at the edge: what only our own queues call stays inside, floods from one address are
# slowed, known attacks are turned away. What users write in sockets is not inspected.

resource "google_compute_security_policy" "edge" {
  count = var.domain == "" ? 0 : 1

  name = "odai"
  type = "CLOUD_ARMOR"

  rule {
    priority    = 100
    action      = "deny(404)"
    description = "Paths that only our own queues call, at the services' inner addresses"

    match {
      expr {
        expression = join(" || ", [for path in local.code.inner_paths : "request.path == '${path}'"])
      }
    }
  }

  rule {
    priority    = 200
    action      = "deny(403)"
    description = "Scanners, file inclusion and remote execution"

    match {
      expr {
        expression = join(" || ", [
          "evaluatePreconfiguredWaf('scannerdetection-v33-stable', {'sensitivity': 1})",
          "evaluatePreconfiguredWaf('lfi-v33-stable', {'sensitivity': 1})",
          "evaluatePreconfiguredWaf('rce-v33-stable', {'sensitivity': 1})",
        ])
      }
    }
  }

  rule {
    priority    = 210
    action      = "deny(403)"
    description = "Log4j's look-ups"

    match {
      expr {
        expression = "evaluatePreconfiguredExpr('cve-canary')"
      }
    }
  }

  # A socket counts once, so that this is far above what a household of clients does.
  rule {
    priority    = 300
    action      = "rate_based_ban"
    description = "One address, too often"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action   = "allow"
      exceed_action    = "deny(429)"
      enforce_on_key   = "IP"
      ban_duration_sec = 300

      rate_limit_threshold {
        count        = 600
        interval_sec = 60
      }

      ban_threshold {
        count        = 3000
        interval_sec = 60
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "allow"
    description = "Everybody else"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.these]
}
