"""Recovery from dead workers, and quarantine of poison rows."""
