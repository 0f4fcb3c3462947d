"""Migrations: ``service`` is the entrance to all that starts, steers, feeds and reports jobs."""
