"""Database triggers: they put in the queue what no signal tells of."""
