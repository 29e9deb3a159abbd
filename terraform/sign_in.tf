# Who may sign in: Identity Platform (Firebase Authentication) with an e-mailed link. Others, such as
# Google, are switched on in its console, where their own keys are entered.

resource "google_identity_platform_config" "users" {
  count = var.firebase_project == "" ? 1 : 0

  autodelete_anonymous_users = true
  authorized_domains = distinct(compact([
    "${var.project}.firebaseapp.com",
    trimprefix(local.public_url, "https://"),
  ]))

  sign_in {
    allow_duplicate_emails = false

    email {
      enabled           = true
      password_required = false
    }
  }

  depends_on = [google_project_service.these]
}

# Public by its nature: a web client shows it. It can do nothing but sign people in.
resource "google_apikeys_key" "sign_in" {
  name         = "odai-sign-in"
  display_name = "Sign-in of web clients and of the smoke test"

  restrictions {
    api_targets {
      service = "identitytoolkit.googleapis.com"
    }

    api_targets {
      service = "securetoken.googleapis.com"
    }
  }

  depends_on = [google_project_service.these]
}
