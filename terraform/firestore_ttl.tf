# What is transient goes away by itself, usually within a day of its `expires_at`; the code does not
# rely on it. That field rises with time, and indexing it would make one hot spot of all writes.

resource "google_firestore_field" "expires_at" {
  for_each = toset(local.code.expiring)

  database   = google_firestore_database.this.name
  collection = each.key
  field      = "expires_at"

  index_config {}

  ttl_config {}
}
