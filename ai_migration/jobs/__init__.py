"""Migrations: one door, ``service``, and behind it what starts, steers, feeds and reports jobs."""
