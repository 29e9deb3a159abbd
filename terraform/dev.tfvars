# A private copy to try things in: nothing runs, and next to nothing is paid, while nobody uses it.
env               = "dev"
delete_protection = false
max_instances     = 1
min_instances     = 0
trace_share       = 1
budget_per_month  = 20
