# The one key that wraps users' data keys. It rotates; old versions stay, for what they wrapped.

resource "google_kms_key_ring" "odai" {
  name       = "odai"
  location   = var.region
  depends_on = [google_project_service.these]
}

resource "google_kms_crypto_key" "users" {
  name                       = "users"
  key_ring                   = google_kms_key_ring.odai.id
  purpose                    = "ENCRYPT_DECRYPT"
  rotation_period            = "7776000s" # 90 days
  destroy_scheduled_duration = "2592000s" # 30 days to think again

  # Without it every user's data is lost for good. Taking this line out is the only way to delete it.
  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_iam_member" "wraps" {
  for_each = local.using_keys

  crypto_key_id = google_kms_crypto_key.users.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.runners[each.key]
}
