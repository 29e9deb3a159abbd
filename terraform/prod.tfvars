# For people who rely on it. Set domain, alert_email and billing_account for your own, here or by
# TF_VAR_domain and so on.
env               = "prod"
delete_protection = true
max_instances     = 20
min_instances     = 2
trace_share       = 0.1
budget_per_month  = 500
