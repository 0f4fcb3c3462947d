"""Embed requests: planned, sent on threads, retried, bisected."""
