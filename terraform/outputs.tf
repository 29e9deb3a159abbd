# What comes out: addresses to paste into the consoles of Twilio, Google and Plaid, and what CI needs.

output "address" {
  description = "IP address the domain's A record must point to; null without a load balancer."
  value       = one(google_compute_global_address.edge[*].address)
}

output "ci_provider" {
  description = "Workload identity provider for CI; null without a repository."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}

output "deployer" {
  description = "Service account that CI and Cloud Build act as."
  value       = google_service_account.deployer.email
}

output "doctor" {
  description = "Service account the smoke test signs in with."
  value       = google_service_account.doctor.email
}

output "firebase_api_key" {
  description = "Public key with which clients sign in; no secret, though Terraform takes it for one."
  value       = google_apikeys_key.sign_in.key_string
  sensitive   = true
}

output "images" {
  description = "Where images are pushed."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "secrets" {
  description = "Secrets whose values are added by hand; a blank one is a service switched off."
  value       = sort([for secret in google_secret_manager_secret.these : secret.secret_id])
}

output "url" {
  description = "Where clients reach the deployment."
  value       = local.public_url
}
