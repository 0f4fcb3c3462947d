"""The Django admin: run a migration without a terminal. Registers itself when it is imported,
which Django does where ``django.contrib.admin`` is installed."""

from __future__ import annotations

from ai_migration.admin import dashboard, jobs, tables  # noqa: F401  (they register themselves)
