"""Reading the run ledger: runs, their comparison, statistics."""
