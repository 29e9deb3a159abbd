# Composite indexes, and fields that need none, from the file that a test holds against the code's
# queries. Its format is the Firebase CLI's.

locals {
  indexes = jsondecode(file("${path.module}/firestore.indexes.json"))
}

resource "google_firestore_index" "these" {
  for_each = {
    for index in local.indexes.indexes :
    join(" ", concat([index.collectionGroup], [for field in index.fields : field.fieldPath])) => index
  }

  database    = google_firestore_database.this.name
  collection  = each.value.collectionGroup
  query_scope = try(each.value.queryScope, "COLLECTION")

  dynamic "fields" {
    for_each = each.value.fields

    content {
      field_path   = fields.value.fieldPath
      order        = try(fields.value.order, null)
      array_config = try(fields.value.arrayConfig, null)
    }
  }
}

# Sealed values are never searched: indexing their first bytes would only cost writes and storage.
resource "google_firestore_field" "overridden" {
  for_each = {
    for field in local.indexes.fieldOverrides : "${field.collectionGroup} ${field.fieldPath}" => field
  }

  database   = google_firestore_database.this.name
  collection = each.value.collectionGroup
  field      = each.value.fieldPath

  index_config {
    dynamic "indexes" {
      for_each = each.value.indexes

      content {
        order        = try(indexes.value.order, null)
        array_config = try(indexes.value.arrayConfig, null)
        query_scope  = try(indexes.value.queryScope, "COLLECTION")
      }
    }
  }
}
