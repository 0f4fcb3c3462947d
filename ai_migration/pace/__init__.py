"""How fast to go: limits, budgets, concurrency, batch sizes, throttles."""
