"""What the server that forks victims imports once: Django, and everything a worker needs."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

import ai_migration.engine.worker  # noqa: E402
import ai_migration.entities.filters  # noqa: E402
import tests.acceptance.embedders  # noqa: E402
import tests.acceptance.sabotage  # noqa: E402
import tests.databases  # noqa: E402, F401
