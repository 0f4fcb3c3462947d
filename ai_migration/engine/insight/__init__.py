"""Metrics, status and health of the engine."""
