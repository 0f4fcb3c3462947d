"""Move a job from state to state, change its limits, try its failures again."""
