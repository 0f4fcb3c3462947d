"""The pace of work: limits, budgets, concurrency, batch sizes, throttles."""
